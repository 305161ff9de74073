#!/usr/bin/env python3
"""A Bolt proxy that cuts a connection where a query asks for it, so that a driver meets a lost connection at a known point.

    cutter.py HOST PORT

It forwards to HOST:PORT and prints two ports of 127.0.0.1: its own, and one that refuses connections as long as it runs.
It ends with its standard input. A query cuts its connection by containing, as a comment or a string:

    cut:fin:query    the query does not arrive; the client's connection is closed
    cut:rst:query    the query does not arrive; the client's connection is reset
    cut:rst:result   the query is executed; the connection is reset once a part of its answer has passed
    cut:rst:commit   the transaction's COMMIT is executed, but instead of its answer a reset arrives
"""

import asyncio
import contextlib
import re
import socket
import struct
import sys

MARK = re.compile(rb"cut:(fin|rst):(query|result|commit)")
# The longest text that can be a mark: what may be missing of it at the end of a piece.
MARK_LENGTH = len("cut:rst:result")
# A chunk with the message COMMIT, and the end of the message.
COMMIT = b"\x00\x02\xb0\x12\x00\x00"
# How much of an answer passes, in bytes: less than any answer that a test cuts.
RESULT_PART = 16 * 1024


class Connection:
    """One client's connection, and the one to the server that belongs to it."""

    def __init__(self, client, server):
        self.client = client
        self.server = server
        self.mark = None
        # Bytes of the answer that still pass; None as long as all do.
        self.passing = None

    async def upstream(self, reader):
        """Passes on what the client sends. Returns when the connection is to be cut, or has ended."""
        seen = b""
        while data := await reader.read(65536):
            seen = seen[-(MARK_LENGTH - 1) :] + data
            if found := MARK.search(seen):
                self.mark = tuple(part.decode() for part in found.groups())
                seen = b""
                if self.mark[1] == "query":
                    return
                if self.mark[1] == "result":
                    self.passing = RESULT_PART
            if self.mark and self.mark[1] == "commit" and COMMIT in data:
                # The answer is what tells that the server has committed.
                self.passing = 0
            self.server.write(data)
            await self.server.drain()

    async def downstream(self, reader):
        """Passes on what the server sends. Returns when the connection is to be cut, or has ended."""
        while data := await reader.read(65536):
            if self.passing is not None:
                self.client.write(data[: self.passing])
                self.passing -= len(data)
                if self.passing < 0:
                    return
            else:
                self.client.write(data)
            await self.client.drain()

    def cut(self):
        """Ends the client's connection in the way that the mark asks for."""
        if self.mark and self.mark[0] == "rst":
            linger = struct.pack("ii", 1, 0)
            self.client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.client.transport.abort()
        else:
            self.client.close()
        self.server.close()


async def serve(target, client_reader, client_writer):
    try:
        server_reader, server_writer = await asyncio.open_connection(*target)
    except OSError:
        client_writer.close()
        return
    connection = Connection(client_writer, server_writer)
    directions = [
        asyncio.create_task(connection.upstream(client_reader)),
        asyncio.create_task(connection.downstream(server_reader)),
    ]
    await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
    connection.cut()
    for direction in directions:
        direction.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await direction


async def main():
    target = (sys.argv[1], int(sys.argv[2]))
    server = await asyncio.start_server(
        lambda reader, writer: serve(target, reader, writer), "127.0.0.1", 0
    )
    # A port that is taken and does not listen refuses.
    with socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))
        print(server.sockets[0].getsockname()[1], refusing.getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    asyncio.run(main())
