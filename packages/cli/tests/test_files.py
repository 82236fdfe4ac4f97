"""The files of `miractl`."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from headway_cli.miractl.contexts import Context, Contexts, Files, Tokens, default_path
from headway_wire.errors import Invalid, NotFound, Unauthenticated


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "made" / "config.yaml")


def tokens(name: str) -> Tokens:
    return Tokens(f"hat_{name}", 1, f"hrt_{name}", 2, name, "admin", "key-1")


def test_what_is_written_is_read_again(files: Files) -> None:
    contexts = Contexts().with_context(Context("a", "http://a")).with_context(Context("b", "https://b", True))
    files.keep_contexts(contexts)
    files.keep_tokens("a", tokens("a"))
    files.keep_tokens("b", tokens("b"))
    files.keep_tokens("a", None)

    assert files.contexts() == contexts
    assert (files.tokens_of("a"), files.tokens_of("b")) == (None, tokens("b"))


def test_a_context_is_changed_in_place_of_a_second_of_its_name() -> None:
    contexts = Contexts().with_context(Context("a", "http://a")).with_context(Context("a", "http://new"))

    assert contexts.all == (Context("a", "http://new"),)


def test_only_the_owner_can_read_them_whatever_they_were_before(files: Files) -> None:
    files.config.parent.mkdir()
    files.config.write_text("{}")
    files.config.chmod(0o644)

    files.keep_contexts(Contexts().with_context(Context("a", "http://a")))

    assert stat.S_IMODE(files.config.stat().st_mode) == 0o600
    assert [path.name for path in files.config.parent.iterdir()] == ["config.yaml"], "nothing is left behind"


def test_a_write_that_fails_leaves_the_old_file(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    files.keep_tokens("a", tokens("a"))
    monkeypatch.setattr("os.replace", _refuse)

    with pytest.raises(OSError, match="full"):
        files.keep_tokens("a", None)

    assert files.tokens_of("a") == tokens("a")
    assert [path.name for path in files.config.parent.iterdir()] == ["tokens.yaml"]


def _refuse(*_: object) -> None:
    raise OSError(28, "the disk is full")


def test_one_at_a_time_holds_the_files(files: Files) -> None:
    inside: list[str] = []
    entered, leave = threading.Event(), threading.Event()

    def first() -> None:
        with files.locked():
            entered.set()
            leave.wait(10)
            inside.append("first")

    def second() -> None:
        with files.locked():
            inside.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert entered.wait(10)
    threads[1].start()
    leave.set()
    for thread in threads:
        thread.join(10)

    assert inside == ["first", "second"]


def test_the_variable_names_a_file_or_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRACTL_CONFIG", str(tmp_path / "mine.yaml"))
    assert Files().config == tmp_path / "mine.yaml"
    assert Files().tokens == tmp_path / "tokens.yaml"

    monkeypatch.setenv("MIRACTL_CONFIG", str(tmp_path))
    assert default_path() == tmp_path / "config.yaml"

    monkeypatch.delenv("MIRACTL_CONFIG")
    assert default_path() == Path.home() / ".miractl" / "config.yaml"


def test_a_context_that_is_missing_is_named_with_those_there_are() -> None:
    with pytest.raises(Unauthenticated):
        Contexts().get()
    with pytest.raises(NotFound, match="there are: a"):
        Contexts("a", (Context("a", "http://a"),)).get("b")


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "contexts: 7", "contexts: [7]", "contexts: [{name: x}]", "contexts: [{name: x, url: y}]"],
)
def test_a_file_that_is_not_what_it_should_be_is_refused(files: Files, text: str) -> None:
    files.config.parent.mkdir()
    files.config.write_text(text)

    with pytest.raises(Invalid):
        files.contexts()


def test_damaged_tokens_count_as_none(files: Files) -> None:
    files.config.parent.mkdir()
    files.tokens.write_text("a: {access_token: x, later_field: 1}\nb: 7\n")

    assert files.tokens_of("a") is None
    assert files.tokens_of("b") is None
