// The official JavaScript driver against Memgraph. The checks are those of e2e/drivers/README.md.
'use strict'

const assert = require('node:assert/strict')
const { after, test } = require('node:test')
const { setTimeout: pause } = require('node:timers/promises')
const neo4j = require('neo4j-driver')
const { saveOrder, write } = require('./writing.js')

const environment = (name) => {
  const value = process.env[name]
  assert.ok(value, `${name} is not set`)
  return value
}

const uri = (port, host = '127.0.0.1') => `bolt://${host}:${port}`
const SERVER = uri(environment('BOLT_PORT'), environment('BOLT_HOST'))
const WITH_USERS = uri(environment('BOLT_USERS_PORT'), environment('BOLT_HOST'))
const CUT = uri(environment('BOLT_CUT_PORT'))
const CLOSED = uri(environment('BOLT_CLOSED_PORT'))

const CLIENT_ERROR = 'Memgraph.ClientError.MemgraphError.MemgraphError'
const TRANSIENT_ERROR = 'Memgraph.TransientError.MemgraphError.MemgraphError'
const LOST = ['ServiceUnavailable', 'SessionExpired']

const open = []
const connect = (address, auth, config) => {
  const driver = neo4j.driver(address, auth, config)
  open.push(driver)
  return driver
}
after(() => Promise.all(open.map((driver) => driver.close())))

const driver = connect(SERVER)
const numbers = (to) => Array.from({ length: to }, (_, index) => index + 1)
const note = (text) => console.log(`note: ${text}`)
const seconds = (from, to) => ((to - from) / 1000).toFixed(2)

// A check with a session, and a label of its own that no node has.
const check = (name, body) =>
  test(name, async (context) => {
    const session = driver.session()
    try {
      const label = name.replace(/[^a-z]+(.)?/gi, (_, next) => (next ?? '').toUpperCase()) + 'Js'
      await session.run(`MATCH (n:${label}) DETACH DELETE n`)
      await body({ session, label, context })
    } finally {
      await session.close()
    }
  })

const single = async (result) => {
  const { records } = await result
  assert.equal(records.length, 1)
  return records[0]
}
const value = async (result) => (await single(result)).get(0)
const integer = async (result) => (await value(result)).toNumber()

const failure = async (action) => {
  try {
    await action
  } catch (error) {
    assert.ok(error instanceof neo4j.Neo4jError, String(error))
    return error
  }
  assert.fail('nothing failed')
}

test('connect', async () => {
  const info = await driver.getServerInfo()
  assert.ok(info.agent.startsWith('Neo4j/'))
  assert.equal(Number(info.protocolVersion?.toString?.() ?? info.protocolVersion), 5.2)
})

test('auth without users', async () => {
  for (const auth of [undefined, neo4j.auth.basic('anyone', 'anything')]) {
    await connect(SERVER, auth).verifyConnectivity()
  }
})

test('auth with users', async () => {
  const right = neo4j.auth.basic(environment('BOLT_USER'), environment('BOLT_PASSWORD'))
  await connect(WITH_USERS, right).verifyConnectivity()
  for (const auth of [undefined, neo4j.auth.basic(environment('BOLT_USER'), 'wrong')]) {
    const error = await failure(connect(WITH_USERS, auth).verifyConnectivity())
    assert.equal(error.code, 'Memgraph.ClientError.Security.Unauthenticated')
    assert.equal(error.retriable, false)
  }
})

check('auto commit', async ({ session, label }) => {
  assert.equal(await integer(session.run(`CREATE (n:${label} {v: $v}) RETURN n.v`, { v: neo4j.int(7) })), 7)
  const { records, summary, keys } = await driver.executeQuery(`MATCH (n:${label}) RETURN n.v AS v`)
  assert.deepEqual([records[0].get('v').toNumber(), keys], [7, ['v']])
  assert.equal(summary.queryType, 'r')
  assert.equal(summary.database.name, 'memgraph')
})

check('explicit transaction', async ({ session, label }) => {
  const count = `MATCH (n:${label}) RETURN count(n)`
  const other = driver.session()
  const committed = await session.beginTransaction()
  await committed.run(`CREATE (:${label})`)
  assert.equal(await integer(committed.run(count)), 1)
  assert.equal(await integer(other.run(count)), 0)
  await committed.commit()
  assert.equal(await integer(other.run(count)), 1)
  const rolledBack = await session.beginTransaction()
  await rolledBack.run(`CREATE (:${label})`)
  await rolledBack.rollback()
  // A session that ends rolls back what is open.
  const leaving = driver.session()
  await (await leaving.beginTransaction()).run(`CREATE (:${label})`)
  await leaving.close()
  assert.equal(await integer(other.run(count)), 1)
  await other.close()
})

check('long transaction', async ({ session, label }) => {
  const count = `MATCH (n:${label}) RETURN count(n)`
  const transaction = await session.beginTransaction()
  for (let done = 0; done < 4; done++) {
    await transaction.run(`CREATE (:${label})`)
    await pause(Number(process.env.BOLT_LONG_SECONDS ?? 1) * 250)
  }
  assert.equal(await integer(transaction.run(count)), 4)
  await transaction.commit()
  assert.equal(await integer(session.run(count)), 4)
})

check('managed transaction', async ({ session, label }) => {
  await session.executeWrite((tx) => tx.run(`UNWIND [1, 2, 3] AS v CREATE (:${label} {v: v})`))
  const values = await session.executeRead(async (tx) => {
    const { records } = await tx.run(`MATCH (n:${label}) RETURN n.v ORDER BY n.v DESC`)
    return records.map((record) => record.get(0).toNumber())
  })
  assert.deepEqual(values, [3, 2, 1])
})

check('managed transaction retries transient errors', async ({ session, label }) => {
  await session.run(`CREATE (:${label} {v: 0})`)
  const begun = []
  const result = await session.executeWrite(async (tx) => {
    begun.push(Date.now())
    if (begun.length > 1) {
      return integer(tx.run(`MATCH (n:${label}) SET n.v = n.v + 1 RETURN n.v`))
    }
    const other = driver.session()
    try {
      const conflict = await other.beginTransaction()
      await conflict.run(`MATCH (n:${label}) SET n.v = 10`)
      await tx.run(`MATCH (n:${label}) SET n.v = n.v + 1`)
    } finally {
      await other.close()
    }
  })
  assert.equal(result, 1)
  assert.equal(begun.length, 2)
  note(`retried a transient error after ${seconds(...begun)} s`)
})

check('managed transaction does not retry client errors', async ({ session }) => {
  let attempts = 0
  const error = await failure(
    session.executeWrite((tx) => {
      attempts += 1
      return tx.run('RETURN 1 / 0')
    })
  )
  assert.deepEqual([error.code, attempts], [CLIENT_ERROR, 1])
})

test('paging', async () => {
  const session = driver.session({ fetchSize: 10 })
  for (const count of [95, 20]) {
    const { records } = await session.run('UNWIND range(1, $count) AS n RETURN n', { count: neo4j.int(count) })
    assert.deepEqual(
      records.map((record) => record.get('n').toNumber()),
      numbers(count)
    )
  }
  // What is left of a result is discarded.
  for await (const record of session.run('UNWIND range(1, 95) AS n RETURN n')) {
    assert.equal(record.get('n').toNumber(), 1)
    break
  }
  const tx = await session.beginTransaction()
  for (let query = 0; query < 2; query++) {
    assert.equal((await tx.run('UNWIND range(1, 25) AS n RETURN n')).records.length, 25)
  }
  await tx.commit()
  await session.close()
})

check('values', async ({ label, context }) => {
  const values = [
    null,
    true,
    false,
    0n,
    -17n,
    127n,
    -129n,
    2n ** 31n,
    2n ** 63n - 1n,
    -(2n ** 63n),
    0.5,
    -1.5,
    1e300,
    Infinity,
    '',
    'žluťoučký 🐎 \'quoted\' "and" \\',
    [],
    [1n, 'two', 3.5, null, [true]],
    {},
    { a: 1n, nested: { list: [1n, 2n], none: null } }
  ]
  const exact = connect(SERVER, undefined, { useBigInt: true })
  for (const [index, sent] of values.entries()) {
    await context.test(`${index}: ${typeof sent}`, async () => {
      const session = exact.session()
      assert.deepEqual(await value(session.run('RETURN $value', { value: sent })), sent)
      const stored = session.run(`CREATE (n:${label} {v: $value}) RETURN n.v`, { value: sent })
      assert.deepEqual(await value(stored), sent)
      await session.close()
    })
  }
})

check('bytes are refused', async ({ session }) => {
  // Memgraph has no bytes: it takes them for a broken message and closes the connection.
  const error = await failure(session.run('RETURN $value', { value: new Int8Array([0, -1]) }))
  note(`bytes lead to ${error.code}: ${error.message}`)
  assert.equal(await integer(session.run('RETURN 1')), 1)
})

check('graph values', async ({ session, label }) => {
  const created = await single(
    session.run(
      `CREATE (a:${label}:Second {name: 'a'})-[r:KNOWS {since: 1999}]->(b:${label} {name: 'b'})
       RETURN a, r, b, id(a) AS id`
    )
  )
  const [a, r, b] = ['a', 'r', 'b'].map((key) => created.get(key))
  assert.ok(neo4j.isNode(a) && neo4j.isRelationship(r))
  assert.deepEqual(a.labels, [label, 'Second'])
  assert.deepEqual(a.properties, { name: 'a' })
  assert.equal(a.elementId, created.get('id').toString())
  assert.equal(r.type, 'KNOWS')
  assert.equal(r.properties.since.toNumber(), 1999)
  assert.deepEqual([r.startNodeElementId, r.endNodeElementId], [a.elementId, b.elementId])
  for (const [pattern, names] of [
    ["(a {name: 'a'})-[r]->(b)", ['a', 'b']],
    ["(b {name: 'b'})<-[r]-(a)", ['b', 'a']]
  ]) {
    const path = await value(session.run(`MATCH p = ${pattern} WHERE a:${label} RETURN p`))
    assert.ok(neo4j.isPath(path))
    assert.deepEqual([path.start.properties.name, path.end.properties.name], names)
    assert.equal(path.segments[0].relationship.elementId, r.elementId)
    assert.equal(path.segments[0].relationship.startNodeElementId, a.elementId)
  }
})

check('temporal values', async ({ session, label }) => {
  const values = [
    new neo4j.types.Date(2024, 2, 29),
    new neo4j.types.LocalTime(13, 14, 15, 123456000),
    new neo4j.types.LocalDateTime(2024, 2, 29, 23, 59, 59, 999999000),
    new neo4j.types.DateTime(2024, 2, 29, 13, 14, 15, 123456000, 7200)
  ]
  for (const sent of values) {
    const stored = await value(session.run(`CREATE (n:${label} {v: $value}) RETURN n.v`, { value: sent }))
    assert.equal(stored.toString(), sent.toString())
  }
  // Memgraph keeps microseconds; days and seconds are told apart anew.
  const duration = await value(session.run('RETURN $value', { value: new neo4j.types.Duration(0, 1, 90001, 5000) }))
  assert.equal(duration.toString(), new neo4j.types.Duration(0, 2, 3601, 5000).toString())
})

check('error codes', async ({ session, label }) => {
  for (const query of ['RETURN 1 +', 'RETURN missing', 'RETURN 1 / 0']) {
    const error = await failure(session.run(query))
    assert.deepEqual([error.code, error.retriable], [CLIENT_ERROR, false])
  }
  await session.run(`CREATE (:${label} {v: 0})`)
  const other = driver.session()
  const conflict = await other.beginTransaction()
  await conflict.run(`MATCH (n:${label}) SET n.v = 1`)
  const error = await failure(session.run(`MATCH (n:${label}) SET n.v = 2`))
  assert.deepEqual([error.code, error.retriable], [TRANSIENT_ERROR, true])
  assert.match(error.message, /Cannot resolve conflicting transactions/)
  await other.close()
})

check('notifications', async ({ session, label }) => {
  const { summary } = await session.run(`CREATE INDEX ON :${label}(v)`)
  assert.equal(summary.notifications.length, 1)
  const [notification] = summary.notifications
  assert.equal(notification.code, 'CreateIndex')
  assert.ok(notification.title.includes(label))
  await session.run(`DROP INDEX ON :${label}(v)`)
})

check('summary counters', async ({ session, label }) => {
  const updates = async (query) => (await session.run(query)).summary.counters
  const created = await updates(`CREATE (:${label} {a: 1, b: 2})-[:R]->(:${label})`)
  const { nodesCreated, relationshipsCreated, labelsAdded, propertiesSet } = created.updates()
  assert.deepEqual([nodesCreated, relationshipsCreated, labelsAdded, propertiesSet], [2, 1, 2, 2])
  const { nodesDeleted, relationshipsDeleted } = (await updates(`MATCH (n:${label}) DETACH DELETE n`)).updates()
  assert.deepEqual([nodesDeleted, relationshipsDeleted], [2, 1])
  assert.ok(!(await updates('RETURN 1')).containsUpdates())
})

check('big result', async ({ session }) => {
  const { records } = await session.run('UNWIND range(1, 50000) AS n RETURN n, toString(n) AS text')
  assert.equal(records.length, 50000)
  assert.ok(records.every((record, index) => record.get('text') === String(index + 1)))
})

check('long string', async ({ session }) => {
  const text = '0123456789abcdef'.repeat(65536)
  const returned = await single(session.run('RETURN $text AS text, size($text) AS size', { text }))
  assert.ok(returned.get('text') === text)
  assert.equal(returned.get('size').toNumber(), text.length)
})

check('concurrent sessions', async ({ session, label }) => {
  const workers = numbers(8)
  await session.run(`UNWIND range(1, 8) AS id CREATE (:${label} {id: id, v: 0})`)
  const work = async (worker) => {
    const own = driver.session()
    for (let round = 0; round < 20; round++) {
      const query = `MATCH (n:${label} {id: $id}) SET n.v = n.v + 1`
      await own.executeWrite((tx) => tx.run(query, { id: neo4j.int(worker) }))
    }
    await own.close()
  }
  await Promise.all(workers.map(work))
  assert.equal(await integer(session.run(`MATCH (n:${label}) RETURN sum(n.v)`)), 160)
})

check('session after failure', async ({ session, label }) => {
  await failure(session.run('RETURN 1 +'))
  assert.equal(await integer(session.run('RETURN 1')), 1)
  const tx = await session.beginTransaction()
  await tx.run(`CREATE (:${label})`)
  await failure(tx.run('RETURN 1 / 0'))
  assert.ok(!tx.isOpen())
  assert.equal(await integer(session.run(`MATCH (n:${label}) RETURN count(n)`)), 0)
})

test('connection refused', async () => {
  const error = await failure(connect(CLOSED).verifyConnectivity())
  assert.equal(error.code, 'ServiceUnavailable')
})

test('tls', { skip: process.env.BOLT_TLS_PORT === undefined }, async () => {
  // The certificate is the server's own.
  const address = `bolt+ssc://${environment('BOLT_HOST')}:${environment('BOLT_TLS_PORT')}`
  await connect(address).verifyConnectivity()
})

for (const end of ['fin:query', 'rst:query', 'rst:result']) {
  test(`connection lost ${end}`, async () => {
    const session = connect(CUT, undefined, { fetchSize: -1 }).session()
    const error = await failure(session.run(`UNWIND range(1, 50000) AS n RETURN n /* cut:${end} */`))
    assert.ok(LOST.includes(error.code), error.code)
    assert.ok(error.retriable)
    assert.equal(await integer(session.run('RETURN 1')), 1)
    await session.close()
  })
}

test('managed transaction retries a lost connection', async () => {
  const session = connect(CUT).session()
  const begun = []
  const result = await session.executeWrite((tx) => {
    begun.push(Date.now())
    return integer(tx.run(begun.length === 1 ? 'RETURN 1 /* cut:rst:query */' : 'RETURN 2'))
  })
  assert.deepEqual([result, begun.length], [2, 2])
  note(`retried a lost connection after ${seconds(...begun)} s`)
  await session.close()
})

check('connection lost at commit', async ({ session, label }) => {
  // The transaction is committed, but the client cannot know.
  const cut = connect(CUT).session()
  let attempts = 0
  const error = await cut
    .executeWrite((tx) => {
      attempts += 1
      return tx.run(`CREATE (:${label})${attempts === 1 ? ' /* cut:rst:commit */' : ''}`)
    })
    .then(() => undefined, (error) => error)
  note(`a lost answer to COMMIT leads to ${error?.code ?? 'a retry'}; attempts: ${attempts}`)
  assert.equal(await integer(session.run(`MATCH (n:${label}) RETURN count(n)`)), attempts)
  await cut.close()
})

check('write is repeated when its answer is lost', async ({ session, label }) => {
  let attempts = 0
  await write(connect(CUT), (tx) => {
    attempts += 1
    const mark = attempts === 1 ? ' /* cut:rst:commit */' : ''
    return tx.run(`MERGE (n:${label} {id: 1}) SET n.v = 2${mark}`)
  })
  assert.equal(attempts, 2)
  assert.equal(await integer(session.run(`MATCH (n:${label}) RETURN n.v`)), 2)
})

test('write that is wrong is not repeated', async () => {
  let attempts = 0
  const error = await failure(
    write(driver, (tx) => {
      attempts += 1
      return tx.run('RETURN 1 / 0')
    })
  )
  assert.deepEqual([error.code, attempts], [CLIENT_ERROR, 1])
})

check('order is saved once', async ({ session }) => {
  await session.run("MATCH (o:Order {id: 'javascript'}) DETACH DELETE o")
  for (const amount of [1, 2]) await saveOrder(driver, 'javascript', amount)
  assert.equal(await value(session.run("MATCH (o:Order {id: 'javascript'}) RETURN o.amount")), 2)
})
