"""The certificate of a run, as clients check it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import requests
from cryptography import x509
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from local.session_pool.tls import write_certificate

BOUND_SECONDS = 30
Get = Callable[[str, Path], str]


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhere")
        await writer.drain()
    writer.close()


@asynccontextmanager
async def served(certificate: Path, key: Path) -> AsyncIterator[int]:
    """The port of a server with this certificate, on loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def strict(authority: Path) -> ssl.SSLContext:
    """What Python 3.13 checks by itself, in every version."""
    context = ssl.create_default_context(cafile=authority)
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def with_httpx(url: str, authority: Path) -> str:
    return httpx.get(url, verify=strict(authority), trust_env=False, timeout=BOUND_SECONDS).text


def with_requests(url: str, authority: Path) -> str:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, verify=str(authority), timeout=BOUND_SECONDS).text


def get(get: Get, url: str, folder: Path, trusted: Path) -> str:
    """What a client that trusts an authority gets from a server with the certificate in a folder."""

    async def main() -> str:
        async with served(folder / "server.pem", folder / "server.key") as port:
            return await asyncio.to_thread(get, url.format(port=port), trusted)

    return asyncio.run(asyncio.wait_for(main(), BOUND_SECONDS))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    paths = write_certificate(tmp_path)
    assert paths == (tmp_path / "authority.pem", tmp_path / "server.pem", tmp_path / "server.key")
    return tmp_path


@pytest.mark.parametrize("client", [with_httpx, with_requests])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_client_that_trusts_the_authority_connects(folder: Path, client: Get, host: str) -> None:
    assert get(client, f"https://{host}:{{port}}/", folder, folder / "authority.pem") == "here"


@pytest.mark.parametrize(
    ("client", "error"), [(with_httpx, httpx.ConnectError), (with_requests, requests.exceptions.SSLError)]
)
def test_client_that_trusts_somebody_else_does_not_connect(
    folder: Path, client: Get, error: type[Exception], tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Another run's authority has the same name, and another key.
    other, _, _ = write_certificate(tmp_path_factory.mktemp("other"))
    for trusted in (Path(DEFAULT_CA_BUNDLE_PATH), other):
        with pytest.raises(error, match=r"(?i)certificate verify failed"):
            get(client, "https://127.0.0.1:{port}/", folder, trusted)


def test_certificate_is_for_loopback_only(folder: Path) -> None:
    certificate = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(days=1) < left <= datetime.timedelta(days=30)
    # It signs no other certificate.
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_key_is_the_owners_alone_and_the_authoritys_is_not_there(folder: Path) -> None:
    assert stat.S_IMODE((folder / "server.key").stat().st_mode) == 0o600
    assert {path.name for path in folder.iterdir() if b"PRIVATE" in path.read_bytes()} == {"server.key"}
