// Writes that outlast a change of MAIN: docs/how-to/connect.md shows this.
'use strict'

const { setTimeout: pause } = require('node:timers/promises')

// Runs work(tx) as a transaction until it is done, for so many milliseconds. It may be run more than once.
async function write (driver, work, patience = 60_000) {
  const end = Date.now() + patience
  for (;;) {
    const session = driver.session()
    try {
      return await session.executeWrite(work)
    } catch (error) {
      if (!mayPass(error) || Date.now() > end) throw error
      await pause(200)
    } finally {
      await session.close()
    }
  }
}

// A lost connection, or an in-sync replica that was away. Anything else fails again.
function mayPass (error) {
  return ['ServiceUnavailable', 'SessionExpired'].includes(error.code) || /Replication Exception/.test(error.message)
}

async function saveOrder (driver, order, amount) {
  const query = 'MERGE (o:Order {id: $id}) SET o.amount = $amount'
  await write(driver, (tx) => tx.run(query, { id: order, amount }))
}

module.exports = { write, saveOrder }
