"""A small Hugging Face Hub on loopback, which answers as the real one does: status codes, headers, redirects, byte ranges.

Facts: what huggingface_hub 1.33 reads (file_download.py, utils/_http.py, constants.py), and the answers that its errors.py quotes.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_ITEM_SIZES = {"BF16": 2, "F32": 4, "U8": 1}


@dataclass(frozen=True)
class File:
    """A file of which only the beginning is held; the rest, up to ``size``, is zeros that are made when somebody asks for them."""

    head: bytes
    size: int

    def part(self, begin: int, end: int) -> bytes:
        """The bytes [begin, end)."""
        return self.head[begin:end].ljust(min(end, self.size) - begin, b"\0")


def plain(content: bytes) -> File:
    """A file of these bytes."""
    return File(content, len(content))


def as_json(value: object) -> File:
    """A file that holds a value as JSON."""
    return plain(json.dumps(value).encode())


def safetensors(tensors: Mapping[str, tuple[str, Sequence[int]]]) -> File:
    """A safetensors file of tensors given as dtype and shape: eight bytes with the length of the header, the header, the data."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape) in tensors.items():
        size = _ITEM_SIZES[dtype]
        for n in shape:
            size *= n
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # as the library pads it, so that data are aligned
    return File(len(text).to_bytes(8, "little") + text, 8 + len(text) + at)


@dataclass
class Repo:
    """A model at the Hub: its files, and how the Hub behaves when it is asked for it."""

    files: dict[str, File]
    gated: bool = False
    status: int = HTTPStatus.OK  # another one for every request
    file_status: int = HTTPStatus.OK  # another one for every file
    info: bytes | None = None  # the answer of /api/models, where it is not the usual one
    stalled: bool = False  # never answers


@dataclass
class HubServer:
    """The server, as a context manager; ``url`` is its endpoint, ``asked`` every request with the bytes that it was sent."""

    repos: dict[str, Repo] = field(default_factory=dict)
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"server_of": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def cdn(self) -> str:
        """Where large files lie: another host, as huggingface_hub tells hosts apart."""
        return f"http://localhost:{self._server.server_port}/cdn"


class _Handler(BaseHTTPRequestHandler):
    server_of: HubServer

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path):
            model_id, verb, revision = match.groups()
            if repo := self._repo(model_id, revision or "main"):
                listed = [{"type": "file", "path": name, "size": file.size, "oid": _etag(file)} for name, file in repo.files.items()]
                info = {
                    "_id": "0",
                    "id": model_id,
                    "sha": COMMIT,
                    "private": False,
                    "siblings": [{"rfilename": name} for name in repo.files],
                }
                usual = as_json(listed if verb == "tree" else info)
                self._answer(HTTPStatus.OK, usual if repo.info is None else plain(repo.info))
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(*match.groups())
        elif match := re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path):
            model_id, name = match.groups()
            self._send_file(self.server_of.repos[model_id].files[name], {})
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "", "Sorry, we can't find the page you are looking for.")

    do_HEAD = do_GET

    def _resolve(self, model_id: str, revision: str, name: str) -> None:
        repo = self._repo(model_id, revision)
        if repo is None:
            return
        if repo.gated:
            status = HTTPStatus.FORBIDDEN if self.headers["Authorization"] else HTTPStatus.UNAUTHORIZED
            self._refuse(status, "GatedRepo", f"Access to model {model_id} is restricted.")
        elif repo.file_status != HTTPStatus.OK:
            self._refuse(repo.file_status, "", "Something went wrong")
        elif name not in repo.files:
            self._refuse(HTTPStatus.NOT_FOUND, "EntryNotFound", "Entry not found")
        elif name.endswith(".safetensors"):  # a large file lies elsewhere, and what is known of it stands on the redirect
            file = repo.files[name]
            linked = {"Location": f"{self.server_of.cdn}/{model_id}/{name}", "X-Linked-Etag": _etag(file), "X-Linked-Size": str(file.size)}
            self._answer(HTTPStatus.FOUND, plain(b""), {"X-Repo-Commit": COMMIT, **linked})
        else:
            self._send_file(repo.files[name], {"X-Repo-Commit": COMMIT, "ETag": _etag(repo.files[name])})

    def _repo(self, model_id: str, revision: str) -> Repo | None:
        """The repository, or None where the request has its answer already."""
        repo = self.server_of.repos.get(model_id)
        if repo is None:  # who is not logged in is not told whether it is private
            status = HTTPStatus.NOT_FOUND if self.headers["Authorization"] else HTTPStatus.UNAUTHORIZED
            self._refuse(status, "RepoNotFound", "Repository not found")
        elif repo.stalled:
            self.server_of.closing.wait()
        elif repo.status != HTTPStatus.OK:
            self._refuse(repo.status, "", "Something went wrong")
        elif revision not in {"main", COMMIT}:
            self._refuse(HTTPStatus.NOT_FOUND, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return repo
        return None

    def _send_file(self, file: File, headers: Mapping[str, str]) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted is None:
            self._answer(HTTPStatus.OK, file, headers)
            return
        begin, end = int(wanted[1]), min(int(wanted[2]) + 1, file.size)
        ranged = {**headers, "Content-Range": f"bytes {begin}-{end - 1}/{file.size}"}
        self._answer(HTTPStatus.PARTIAL_CONTENT, plain(file.part(begin, end)), ranged)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._answer(status, as_json({"error": message}), {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {}))

    def _answer(self, status: int, body: File, headers: Mapping[str, str] | None = None) -> None:
        sent = body.part(0, body.size) if self.command == "GET" else b""
        self.server_of.asked.append((self.command, self.path, len(sent)))  # before the answer, after which a test looks
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(body.size))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        pass


def _etag(file: File) -> str:
    return f'"{hashlib.sha1(file.head, usedforsecurity=False).hexdigest()}"'
