"""The page about workers says what the code does."""

from __future__ import annotations

from headway.workers import answer, environment, errand, keeper, link, warm, warm_process

from tests.tidy.tree import REPOSITORY

PAGE = " ".join((REPOSITORY / "docs/reference/workers.md").read_text().split())


def test_the_numbers_and_names_on_the_page_are_those_of_the_code() -> None:
    for said in (
        f"after {warm_process.TURNS_MAX} turns",
        f"grown by {warm_process.GROWTH_KIB_MAX // 1024} MiB",
        f"after {warm.IDLE_S:.0f} seconds without work",
        f"at most {link.WorkerSettings.__dataclass_fields__['warm_processes_max'].default} of them",
        f"most {link.OUTPUT_BYTES_MAX // 2**20} MiB",
        f"`{answer.MARKER}`",
        "TOKEN, SECRET, KEY, COOKIE or PASSWORD",
        *(f"`{name}`" for name in environment.INHERITED),
        *(f"`{name}*`" for name in environment.INHERITED_PREFIXES),
        *(f"`{name}`" for name in environment.OWN_PREFIXES),
        *(
            f"`{name}`"
            for name in (errand.INPUT_FILE, errand.MESSAGE_FILE, errand.BODY_FILE, errand.CONTEXT_FILE)
        ),
    ):
        assert said in PAGE, said
    assert keeper.GRACE_MS == 1_000 and "one second later" in PAGE
    assert environment.SECRET_CHARS_MIN == 6 and "at least six characters" in PAGE
    assert environment.SECRET_PARTS == ("TOKEN", "SECRET", "KEY", "COOKIE", "PASSWORD")
