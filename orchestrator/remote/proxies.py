"""Which proxy a request goes through: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``.

aiohttp's own ``trust_env`` is not used: it also reads ``~/.netrc``, whose entry for a host would collide with
our Authorization header or be sent along with a presigned link, and it does so in a thread before every
request.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from yarl import URL

from orchestrator.core.redact import Secret
from orchestrator.errors import UsageError

__all__ = ["Proxies", "Proxy"]


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy without its user information; ``authorization`` is a whole ``Proxy-Authorization`` value."""

    url: URL
    authorization: Secret | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What the proxy itself must be told."""
        return {"Proxy-Authorization": self.authorization.reveal()} if self.authorization else {}


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies of one environment, by scheme of the target."""

    by_scheme: Mapping[str, Proxy]
    bypassed: str = ""
    """``NO_PROXY`` as written."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Proxies:
        """Lower-case names win over upper-case ones, as everywhere. Raises UsageError for an address that is
        none."""

        def value(name: str) -> str:
            return (environment.get(name) or environment.get(name.upper()) or "").strip()

        fallback = value("all_proxy")
        found = {scheme: value(f"{scheme}_proxy") or fallback for scheme in ("http", "https")}
        return cls(
            {scheme: _proxy(f"{scheme}_proxy", text) for scheme, text in found.items() if text},
            value("no_proxy"),
        )

    def for_url(self, url: URL) -> Proxy | None:
        """The proxy for ``url``, None when it is reached directly."""
        proxy = self.by_scheme.get(url.scheme)
        if proxy is None or not url.raw_host:
            return None
        names = (entry.strip().lower() for entry in self.bypassed.split(","))
        return None if any(_covers(name, url.raw_host, url.port) for name in names if name) else proxy


def _covers(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of ``NO_PROXY`` means ``host``: ``*``, a name and all below it, an address, a
    network."""
    name, colon, digits = entry.rpartition(":")
    if colon and digits.isdecimal() and ":" not in name:
        if port != int(digits):
            return False
        entry = name
    entry = entry.removeprefix("*.").removeprefix(".")
    if entry in ("*", host) or host.endswith(f".{entry}"):
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False


def _proxy(name: str, text: str) -> Proxy:
    try:
        url = URL(text if "://" in text else f"http://{text}")
        user, password = url.user, url.password
        bare = url.with_user(None)
    except ValueError:
        url = bare = URL()
    if url.scheme not in ("http", "https") or not url.raw_host:
        raise UsageError(
            f"the environment's {name} is no proxy address",
            hint=f"set {name} to http://host:port, or unset it",
        )
    if user is None and password is None:
        return Proxy(bare)
    token = base64.b64encode(f"{user or ''}:{password or ''}".encode()).decode()
    return Proxy(bare, Secret(f"Basic {token}"))
