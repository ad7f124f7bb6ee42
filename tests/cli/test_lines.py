from __future__ import annotations

import json

from cli.lines import is_chatter, readable


def test_a_json_log_becomes_one_line_for_people():
    log = {
        "event": "relay leads",
        "lease": 3,
        "service": "donation",
        "level": "info",
        "timestamp": "2026-01-02T03:04:05.678901Z",
    }
    assert readable(json.dumps(log)).plain == "03:04:05.678 info    relay leads lease=3"


def test_a_log_that_repeats_a_strangers_words_cannot_steer_the_terminal():
    assert readable(json.dumps({"event": "refused", "name": "\x1b[2Jgone\r\x9b1m"})).plain == "refused name=[2Jgone1m"


def test_what_is_no_json_log_stays_as_it_is():
    for line in ("Traceback (most recent call last):", "[1, 2]", '{"no": "event"}', "", "[bold]not markup[/]"):
        assert readable(line).plain == line


def test_servers_everyday_lines_are_chatter_and_their_errors_are_not():
    assert is_chatter("nats", "[1] 2026/01/02 [INF] Server is ready")
    assert not is_chatter("nats", "[1] 2026/01/02 [ERR] no space left")
    assert not is_chatter("postgres", "2026-01-02 FATAL:  could not write")
