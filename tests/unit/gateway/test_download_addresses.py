"""Download addresses: whose, for how long, and headers that a file's name cannot break out of."""

from __future__ import annotations

import re
from email.message import Message
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_gateway.conditions import span
from sluice_gateway.downloads import LIFETIME, Tickets, disposition, media_type
from sluice_gateway.hrefs import Hrefs
from sluice_gateway.names import clean_name
from sluice_gateway.problems import Problem
from sluice_security.sealing import Seal
from support.gateway_memory import Time

FILE = "a" * 24


def tickets(now: Time, secret: bytes = b"s" * 32) -> Tickets:
    return Tickets(Seal(secret, "downloads"), Hrefs("https://api.test"), now)


def ticket_in(address: str) -> str:
    return address.partition("?ticket=")[2]


def test_an_address_is_for_one_file_and_one_subject_and_tells_neither_name() -> None:
    made = tickets(Time())
    address = made.address("ann@example.org", FILE)
    assert address.startswith(f"https://api.test/v2/files/{FILE}/content?ticket=")
    assert "ann" not in address
    assert made.subject(FILE, ticket_in(address)) == "ann@example.org"
    with pytest.raises(Problem):
        made.subject("b" * 24, ticket_in(address))


def test_an_address_ends_after_its_lifetime() -> None:
    now = Time()
    made = tickets(now)
    ticket = ticket_in(made.address("ann", FILE))
    now.at += LIFETIME - 1
    assert made.subject(FILE, ticket) == "ann"
    now.at += 2
    with pytest.raises(Problem) as refused:
        made.subject(FILE, ticket)
    assert refused.value.status == 404


@pytest.mark.parametrize("ticket", ["", "x", "=", "\u00e4", "A" * 40, "!!!!"])
def test_what_is_no_ticket_is_answered_like_what_does_not_exist(ticket: str) -> None:
    with pytest.raises(Problem) as refused:
        tickets(Time()).subject(FILE, ticket)
    assert refused.value.status == 404


def test_a_ticket_made_under_another_secret_is_none() -> None:
    foreign = ticket_in(tickets(Time(), b"t" * 32).address("ann", FILE))
    with pytest.raises(Problem):
        tickets(Time()).subject(FILE, foreign)


@pytest.mark.parametrize(
    "name", ["a.pdf", 'a"; filename="evil.exe', "a\\b", "Übersicht;x=y.pdf", "文書.pdf", "%41.txt", "a'b''c"]
)
def test_a_name_stays_one_parameter_whatever_it_holds(name: str) -> None:
    field = disposition(name)
    assert field.isascii()
    message = Message()
    message["Content-Disposition"] = field
    assert [key for key, _ in message.get_params(header="content-disposition") or []] == [
        "attachment",
        "filename",
        "filename",
    ] or field.count("filename") == 2
    assert unquote(field.rpartition("filename*=UTF-8''")[2]) == name


@pytest.mark.fuzz
@given(st.text(max_size=80))
def test_no_name_adds_a_parameter_or_a_line(name: str) -> None:
    try:
        name = clean_name(name)
    except ValueError:
        return
    pattern = r"attachment; filename=\"[A-Za-z0-9._-]*\"; filename\*=UTF-8''[A-Za-z0-9._~%-]*"
    assert re.fullmatch(pattern, disposition(name))


@pytest.mark.parametrize(
    ("stored", "served"),
    [
        ("application/pdf", "application/pdf"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        (None, "application/octet-stream"),
        ("", "application/octet-stream"),
        ("text/html\r\nX: y", "application/octet-stream"),
        ("nonsense", "application/octet-stream"),
    ],
)
def test_only_a_well_formed_content_type_is_served(stored: str | None, served: str) -> None:
    assert media_type(stored) == served


@pytest.mark.parametrize(
    ("asked", "size", "part"),
    [
        (slice(0, 5, 1), 10, (0, 5)),
        (slice(3, None, 1), 10, (3, 10)),
        (slice(-4, None, 1), 10, (6, 10)),
        (slice(-40, None, 1), 10, (0, 10)),
        (slice(8, 100, 1), 10, (8, 10)),
        (slice(10, None, 1), 10, None),
        (slice(0, 1, 1), 0, None),
        (slice(-1, None, 1), 0, None),
    ],
)
def test_a_range_is_cut_to_the_file(asked: slice, size: int, part: tuple[int, int] | None) -> None:
    assert span(asked, size) == part
