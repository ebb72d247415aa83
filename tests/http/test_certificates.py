"""Certificates: of servers and our own."""

import ssl

import pytest
import trustme
from http_kit import answer, serving

from entangle.http import ConnectionFailedError, RequestError, request
from entangle.process import process
from entangle.thread import thread

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def believed(authority, tmp_path_factory):
    """A file of the authorities that are believed."""
    path = tmp_path_factory.mktemp("certificates") / "authorities.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def secure(authority, *names):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def get(url, *, how=thread, **options):
    return how(request(url=url, retries=0, **options)(text))


def text(data):
    return data


@pytest.mark.parametrize("how", [thread, process])
def test_a_server_that_is_who_it_says(authority, believed, how):
    with serving(
        lambda *_: answer("fine"), tls=secure(authority, "127.0.0.1")
    ) as server:
        assert get(server.url, how=how, verify=believed)()() == "fine"


def test_authorities_of_the_environment(authority, believed, monkeypatch):
    with serving(
        lambda *_: answer("fine"), tls=secure(authority, "127.0.0.1")
    ) as server:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", believed)
        assert get(server.url)()() == "fine"


def test_a_wrong_name(authority, believed):
    """The message says which, and nothing was sent."""
    with serving(tls=secure(authority, "example.test")) as server:
        with pytest.raises(
            ConnectionFailedError, match="not accepted: .*127.0.0.1"
        ) as got:
            get(server.url, verify=believed)()()
        assert str(got.value).startswith(f"GET {server.url}/: the server's certificate")
        assert got.value.retries == 0
        assert server.asked == []


def test_an_authority_that_nobody_believes(authority):
    with serving(tls=secure(authority, "127.0.0.1")) as server:
        with pytest.raises(ConnectionFailedError, match="not accepted: .*issuer"):
            get(server.url)()()
        assert server.asked == []


def test_no_tls_at_all(authority):
    """TLS to a server that speaks http."""
    with serving(lambda *_: answer("fine")) as server:
        url = server.url.replace("http://", "https://")
        with pytest.raises(RequestError):
            get(url, timeout=1.0)()()


def test_our_own_certificate(authority, believed, tmp_path):
    """A server that wants to know who asks."""
    context = secure(authority, "127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    ours = tmp_path / "ours.pem"
    authority.issue_cert("client.test").private_key_and_cert_chain_pem.write_to_path(
        ours
    )
    with serving(lambda *_: answer("fine"), tls=context) as server:
        assert get(server.url, verify=believed, cert=str(ours))()() == "fine"
        with pytest.raises(ConnectionFailedError):
            get(server.url, verify=believed)()()


def test_a_file_of_authorities_that_is_not_there():
    with pytest.raises(RequestError, match="can't be sent: .*/nowhere"):
        get("https://127.0.0.1:1/", verify="/nowhere/ca.pem")()()
