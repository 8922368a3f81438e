"""However large a file is, a server holds only a little of it at a time."""

import os
from http.client import HTTPResponse

import pytest
from django.core.files.storage import storages

from session_attachments.models import Attachment
from tests import memory, servers, wire

MIB, GIB = 2**20, 2**30
BLOCK = bytes(range(256)) * 4096
LIMIT = 32 * MIB

PATH = "/attachments/foo/"

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("memory")]


@pytest.fixture(params=sorted(servers.COMMANDS))
def server(request, live_processes):
    """Each kind of server in turn, with room for large files."""
    return live_processes(
        request.param,
        SESSION_ATTACHMENTS_MAX_FILE_SIZE=2048,
        SESSION_ATTACHMENTS_MAX_SESSION_SIZE=4096,
    )


@pytest.fixture
def visitor(server):
    with wire.visit(server) as visitor:
        yield visitor


def put(visitor, size):
    head = visitor.head("PUT", f"{PATH}file/", Content_Length=size)
    assert send(visitor, head, size).answer("PUT").json()["size"] == size


def post(visitor, size):
    before = wire.file_part("file").removesuffix(b"\r\n")
    after = b"\r\n" + wire.CLOSE
    head = visitor.head(
        "POST",
        PATH,
        Content_Type=wire.FORM,
        Content_Length=len(before) + size + len(after),
    )
    send(visitor, head + before, size).send(after)
    assert visitor.answer("POST").json()[0]["size"] == size


def get(visitor, size):
    """Make the stored file this large, by a hole at its end, and download it."""
    row = Attachment.objects.get()
    os.truncate(storages[row.storage].path(row.key), size)
    Attachment.objects.update(size=size)

    send(visitor, visitor.head("GET", f"{PATH}file/"), 0)
    response = HTTPResponse(visitor, method="GET")
    response.begin()
    buffer, received = bytearray(MIB), 0
    while count := response.readinto(buffer):
        received += count
    assert (response.status, received) == (200, size)


def send(visitor, head, size):
    """A request that begins with this, then so many bytes from a small memory."""
    visitor.connect()
    visitor.send(head)
    for _ in range(size // len(BLOCK)):
        visitor.send(BLOCK)
    return visitor


@pytest.mark.parametrize("transfer", [put, post, get])
def test_memory__flat(server, visitor, transfer):
    put(visitor, MIB)
    for _ in range(4):  # enough for each worker to load what it needs
        transfer(visitor, MIB)
    before = memory.peak(server.pids)

    transfer(visitor, GIB)

    assert memory.peak(server.pids) - before < LIMIT
