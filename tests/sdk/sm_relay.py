"""Carries connections between clear text and TLS by RFC 8998, spoken by the OpenSSL that `cryptography` brings.

    sm_relay.py client TARGET CA [--groups LIST] [--alpn NAME]
    sm_relay.py server TARGET CERT KEY [--alpn NAME]

TARGET is a port of 127.0.0.1. As a client the relay takes clear text and speaks TLS to the target; as a server the
other way round. It prints `port` and the one that it listens on, then a line for each handshake: the suite, the group, the
protocol by ALPN and whether the session was resumed, or why it failed. It offers one suite and one scheme.
"""

import argparse
import asyncio

from OpenSSL import SSL
from OpenSSL._util import lib

SUITE = b"TLS_SM4_GCM_SM3"
SCHEME = b"sm2sig_sm3"


def context(options):
    made = SSL.Context(SSL.TLS_METHOD)
    made.set_min_proto_version(SSL.TLS1_3_VERSION)
    made.set_tls13_ciphersuites(SUITE)
    assert lib.SSL_CTX_set1_sigalgs_list(made._context, SCHEME) == 1
    if options.groups:
        assert lib.SSL_CTX_set1_curves_list(made._context, options.groups.encode()) == 1
    if options.role == "client":
        made.load_verify_locations(options.files[0])
        made.set_verify(SSL.VERIFY_PEER, lambda *found: bool(found[4]))
        if options.alpn:
            made.set_alpn_protos([options.alpn.encode()])
    else:
        made.use_certificate_chain_file(options.files[0])
        made.use_privatekey_file(options.files[1])
        made.check_privatekey()
        wanted = (options.alpn or "http/1.1").encode()
        made.set_alpn_select_callback(
            lambda _, offered: wanted if wanted in offered else SSL.NO_OVERLAPPING_PROTOCOLS
        )
    return made


class Tls:
    """One connection's TLS, between memory and the network."""

    def __init__(self, made, role, reader, writer):
        self.tls, self.reader, self.writer = SSL.Connection(made, None), reader, writer
        if role == "client":
            self.tls.set_tlsext_host_name(b"localhost")
            self.tls.set_connect_state()
        else:
            self.tls.set_accept_state()

    async def flush(self):
        while True:
            try:
                self.writer.write(self.tls.bio_read(65536))
            except SSL.WantReadError:
                return await self.writer.drain()

    async def fill(self):
        read = await self.reader.read(65536)
        if read:
            self.tls.bio_write(read)
        return bool(read)

    async def shake_hands(self):
        while True:
            try:
                self.tls.do_handshake()
                return await self.flush()
            except SSL.WantReadError:
                await self.flush()
                if not await self.fill():
                    raise EOFError("the other side closed the connection")
            except SSL.Error:
                await self.flush()
                raise

    def agreed(self):
        alpn = self.tls.get_alpn_proto_negotiated().decode() or "-"
        resumed = "resumed" if lib.SSL_session_reused(self.tls._ssl) else "full"
        return f"{self.tls.get_cipher_name()} {self.tls.get_group_name()} {alpn} {resumed}"

    async def inward(self, plain):
        """From TLS to clear text."""
        while True:
            try:
                while True:
                    plain.write(self.tls.recv(65536))
                    await plain.drain()
            except SSL.WantReadError:
                await self.flush()
                if not await self.fill():
                    break
            except SSL.ZeroReturnError:
                break
        plain.close()

    async def outward(self, plain):
        """From clear text to TLS."""
        while read := await plain.read(16384):
            self.tls.sendall(read)
            await self.flush()
        self.tls.shutdown()
        await self.flush()
        self.writer.close()


async def serve(options, made, reader, writer):
    far = await asyncio.open_connection("127.0.0.1", options.target)
    near = (reader, writer)
    secure, plain = (far, near) if options.role == "client" else (near, far)
    tls = Tls(made, options.role, *secure)
    try:
        await tls.shake_hands()
    except (SSL.Error, EOFError, OSError) as error:
        print(f"failed: {error}", flush=True)
        for _, end in (near, far):
            end.close()
        return
    print(tls.agreed(), flush=True)
    ways = tls.inward(plain[1]), tls.outward(plain[0])
    await asyncio.gather(*ways, return_exceptions=True)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["client", "server"])
    parser.add_argument("target", type=int)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--groups")
    parser.add_argument("--alpn")
    options = parser.parse_args()
    made = context(options)
    server = await asyncio.start_server(
        lambda reader, writer: serve(options, made, reader, writer), "127.0.0.1", 0
    )
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
