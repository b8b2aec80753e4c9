"""Files from a server or a folder: resumed where they broke off, from the one host that was named. Light: no torch here."""

import http.client
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from diffzoo.errors import InputError
from diffzoo.zoo.archive import BLOCK, sha256_of

TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 3
PAUSE = 1.0  # seconds before another attempt
BROKEN = (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
INDEX_FILE = "index.json"


def base_of(index: str | Path) -> str:
    """The address, ending in "/", of the folder that an index lies in, from a URL (http, https, file) or a path.

    Raises InputError for another kind of address.
    """
    text = str(index)
    if not re.match("[A-Za-z][A-Za-z0-9+.-]+:", text):
        path = Path(text).expanduser().resolve()
        return (path if path.is_dir() else path.parent).as_uri().rstrip("/") + "/"
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise InputError(f"{text}: {error}") from error
    if parts.scheme not in ("http", "https", "file") or (parts.scheme == "file") == bool(parts.netloc):
        raise InputError(f"{text}: an index is a folder, or an address that starts with https://, http:// or file:///")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InputError("the address of an index takes no user name, ? or #")
    return text.removesuffix(INDEX_FILE).rstrip("/") + "/"


def is_remote(base: str) -> bool:
    """Whether an address needs the network."""
    return not base.startswith("file:")


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only within the host, never from https to http."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if old.scheme == "https" and new.scheme != "https":
            raise InputError(f"{req.full_url} redirects from https to {new.scheme}: refused")
        if (old.hostname, _port(old)) != (new.hostname, _port(new)):
            raise InputError(f"{req.full_url} redirects to another host, {new.netloc}: refused; name that one if you trust it")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _port(parts) -> int | str:
    """The port, or "default" for that of the scheme, so that http may lead to https."""
    try:
        return "default" if parts.port in (None, {"http": 80, "https": 443}.get(parts.scheme)) else parts.port
    except ValueError:
        return "none that is a number"


def _open(url: str, start: int = 0) -> tuple[IO[bytes], int]:
    """A stream of the file from byte `start`, and where it really starts: at 0 if the server does not know ranges."""
    if not is_remote(url):
        file = open(urllib.request.url2pathname(urlsplit(url).path), "rb")  # noqa: SIM115 - the caller closes it
        file.seek(start)
        return file, start
    headers = {"User-Agent": "diffzoo", "Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    answer = urllib.request.build_opener(_SameHost).open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    if answer.status == 206 and not resumed:
        answer.close()
        raise InputError(f"{url}: the server sends another part of the file than was asked for: tell who keeps it")
    return answer, start if resumed else 0


def read(url: str, most: int) -> bytes | None:
    """The whole of a small file, None where there is none; InputError for one beyond `most` bytes or an unreachable place."""
    try:
        stream, _ = _open(url)
        with closing(stream):
            content = stream.read(most + 1)
    except FileNotFoundError:
        return None
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (404, 410):
            return None
        raise InputError(f"{url}: the server answers {error.code} {error.reason}{_proxy(url)}") from error
    except (OSError, ValueError, *BROKEN) as error:
        raise _unreachable(url, error) from error
    if len(content) > most:
        raise InputError(f"{url} is longer than {most} bytes: refused")
    return content


def _unreachable(url: str, error: Exception) -> InputError:
    if isinstance(error, InputError):
        return error
    way = _proxy(url)
    check = "the address and the network" if not way else "the proxy (https_proxy, http_proxy, no_proxy) and the address"
    return InputError(f"{url} cannot be reached{way} ({getattr(error, 'reason', None) or error}): check {check}")


def _proxy(url: str) -> str:
    """By which proxy an address is asked for, in words and without name and password; "" where by none."""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or urllib.request.proxy_bypass(parts.hostname or ""):
        return ""
    return f" through the proxy {proxy.rpartition('@')[2].rpartition('//')[2]}"


def fetch(url: str, part: Path, size: int, sha256: str, say: Callable[[str], None]) -> None:
    """Brings a file of known size and sha256 to `part`, going on from what is there of it.

    A transfer that breaks is resumed at once, three times in all; then `part` stays for the next call, and InputError says so.
    Content that is too long or has another sha256 is removed and refused; where it was resumed, it is fetched once more.
    """
    had = part.stat().st_size if part.exists() else 0
    if had:
        say(f"going on at {had / 2**20:.1f} of {size / 2**20:.1f} MiB")
    _complete(url, part, size)
    if sha256_of(part) != sha256 and had:
        part.unlink()
        _complete(url, part, size)
    if sha256_of(part) != sha256:
        part.unlink()
        raise InputError(f"{url} has not the sha256 that the index tells: it was changed or damaged, refused")


def _complete(url: str, part: Path, size: int) -> None:
    reason: Exception | str = "the connection closed"
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE)
        try:
            _append(url, part, size)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # what is there is longer than the file is now
                part.unlink(missing_ok=True)
            elif error.code < 500:
                raise InputError(f"{url}: the server answers {error.code} {error.reason}{_proxy(url)}") from error
            reason = f"{error.code} {error.reason}"
        except (urllib.error.URLError, *BROKEN) as error:
            reason = getattr(error, "reason", None) or error
        except FileNotFoundError as error:
            raise InputError(f"{url} is not there, though the index lists it") from error
        if part.exists() and part.stat().st_size == size:
            return
    there = part.stat().st_size if part.exists() else 0
    raise InputError(
        f"{url} broke off{_proxy(url)} at {there} of {size} bytes ({reason}): give the same command again, it goes on from there"
    )


def _append(url: str, part: Path, size: int) -> None:
    start = part.stat().st_size if part.exists() else 0
    if start == size:
        return
    if start > size:
        part.unlink()
        start = 0
    stream, start = _open(url, start)
    with closing(stream), open(part, "r+b" if part.exists() else "wb") as out:
        out.truncate(start)
        out.seek(start)
        while block := stream.read(min(BLOCK, size - start + 1)):
            start += len(block)
            if start > size:
                break
            out.write(block)
    if start > size:
        part.unlink()
        raise InputError(f"{url} is longer than the {size} bytes that the index tells: refused")
