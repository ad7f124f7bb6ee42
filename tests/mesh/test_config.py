"""Settings: every mistake at once, no secret in sight."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.config import EXIT_CONFIGURATION, ServiceSettings, load

GOOD = {
    "LISTEN_PORT": "0",
    "DATABASE_URL": "postgresql://a:hunter2-in-url@localhost/x",
    "DATABASE_SCHEMA": "donation",
    "NATS_URL": "nats://b:hunter2-in-nats@localhost",
    "PAGE_TOKEN_KEY": "hunter2-in-key-hunter2",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [field.upper() for field in ServiceSettings.model_fields] + ["SECRETS_DIR"]:
        monkeypatch.delenv(name, raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def mistakes(capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as caught:
        load(ServiceSettings)
    assert caught.value.code == EXIT_CONFIGURATION
    return capsys.readouterr().err.splitlines()


@pytest.mark.requirement("SEC-7")
def test_settings_come_from_the_environment() -> None:
    settings = load(ServiceSettings)
    assert settings.mesh_mode == "production"
    assert settings.database_url.get_secret_value() == GOOD["DATABASE_URL"]


@pytest.mark.requirement("SEC-7")
def test_every_mistake_is_listed_at_once(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    environment.delenv("DATABASE_URL")
    environment.setenv("LISTEN_PORT", "99999")
    environment.setenv("MESH_MODE", "staging")
    environment.setenv("DRAIN_S", "soon")
    lines = mistakes(capsys)
    assert [line.split(":")[1].strip() for line in lines] == ["MESH_MODE", "DRAIN_S", "LISTEN_PORT", "DATABASE_URL"]
    assert lines[3] == "configuration: DATABASE_URL: is not set"


@pytest.mark.requirement("SEC-7")
def test_an_empty_variable_is_not_set(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    environment.setenv("DATABASE_URL", "")
    environment.setenv("LISTEN_PORT", "")
    assert mistakes(capsys) == [
        "configuration: LISTEN_PORT: is not set",
        "configuration: DATABASE_URL: is not set",
    ]


@pytest.mark.requirement("SEC-7")
def test_no_secret_is_shown_by_settings_or_by_mistakes(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load(ServiceSettings)
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert "hunter2" not in text
    environment.setenv("LISTEN_PORT", "x")
    environment.setenv("PAGE_TOKEN_KEY", "hunter2")
    lines = mistakes(capsys)
    assert len(lines) == 2
    assert "hunter2" not in "".join(lines)


@pytest.mark.requirement("SEC-7")
def test_secrets_may_be_files(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.delenv("PAGE_TOKEN_KEY")
    (tmp_path / "page_token_key").write_text("from-a-file-0123456789\n")
    environment.setenv("SECRETS_DIR", str(tmp_path))
    assert load(ServiceSettings).page_token_key.get_secret_value() == "from-a-file-0123456789"


@pytest.mark.requirement("SEC-7")
def test_a_folder_of_secrets_that_is_not_there_is_one_line(
    environment: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("SECRETS_DIR", str(tmp_path / "nowhere"))
    [line] = mistakes(capsys)
    assert line == f"configuration: SECRETS_DIR: {tmp_path / 'nowhere'} is not a folder"


def test_settings_do_not_change() -> None:
    from pydantic import ValidationError  # noqa: PLC0415

    with pytest.raises(ValidationError):
        load(ServiceSettings).drain_s = 3
