"""Functions of this process as actions, and which link an attempt takes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from headway.core.events import Call, Emission
from headway.links.local import LocalLink
from headway.links.router import Router
from headway.ports import Delivery, Result
from headway_wire.errors import Unavailable

from tests.waiting import until_async


@dataclass
class Heard:
    """A `Reports` that remembers."""

    results: list[Result] = field(default_factory=list)
    batches: int = 0
    words: list[tuple[str, str]] = field(default_factory=list)

    def report(self, results: Sequence[Result], durable: Any = None) -> None:
        self.results += results
        self.batches += 1

    def lose(self, attempts: Sequence[str], reason: str) -> None:
        self.words += [(attempt, "lost") for attempt in attempts]

    def probed(self, attempt: str, verdict: str) -> None:
        self.words.append((attempt, verdict))

    def beat(self, attempts: Sequence[str]) -> None:
        self.words += [(attempt, "alive") for attempt in attempts]

    def note(self, attempt: str, kind: str, payload: object) -> None:
        """Nobody notes anything here."""
        raise AssertionError(f"{attempt} noted {kind}")

    def by_id(self) -> dict[str, Result]:
        return {result.id: result for result in self.results}


def delivery(plugin: str, action: str, number: int = 0, **params: Any) -> Delivery:
    id = f"run-{plugin}-{number}"
    return Delivery(f"{id}/call/1/1", "t", id, "call", 1, 1, Call(plugin, action, params), "guided", "", 0)


def local(functions: dict[tuple[str, str], Any], *deliveries: Delivery) -> Heard:
    """What is heard when these attempts have run on a local link."""

    async def run() -> Heard:
        heard, link = Heard(), LocalLink(functions)
        link.attach(heard)
        link.deliver(deliveries)
        await until_async(lambda: len(heard.results) >= len(deliveries), what="all results")
        link.close()
        return heard

    return asyncio.run(run())


def test_plain_and_async_functions_give_outputs_and_raise_failures() -> None:
    async def later(params: dict[str, Any]) -> Any:
        await asyncio.sleep(0)
        return {"later": params["n"]}

    def fails(params: dict[str, Any]) -> Any:
        raise ValueError("no good")

    def away(params: dict[str, Any]) -> Any:
        raise Unavailable("try later", code="backend_away")

    functions = {
        ("p", "plain"): lambda params: {"n": params["n"]},
        ("p", "later"): later,
        ("p", "fails"): fails,
        ("p", "away"): away,
        ("p", "error"): lambda params: {"error": "said so"},
        ("p", "emits"): lambda params: Result("", {"ok": 1}, emits=(Emission("kind", 1),), done=(1,)),
    }
    asked = [delivery("p", action, number, n=1) for number, (_, action) in enumerate(functions)]
    asked.append(delivery("p", "missing", 99))

    found = {r.id.split("/")[0].rsplit("-")[-1]: r for r in local(functions, *asked).results}

    assert found["0"].output == {"n": 1} and found["0"].error is None
    assert found["1"].output == {"later": 1}
    assert found["2"].error == ("action_failed", "ValueError: no good", True)
    assert found["3"].error == ("backend_away", "try later", True)
    assert found["4"].error == ("plugin_error", "said so", True)
    assert found["5"].emits == (Emission("kind", 1),) and found["5"].done and found["5"].error is None
    assert found["99"].error is not None and found["99"].error[0] == "unknown_action"


def test_a_batch_of_quick_calls_comes_back_in_few_batches() -> None:
    heard = local({("p", "a"): lambda params: params}, *[delivery("p", "a", n) for n in range(2_000)])

    assert len(heard.by_id()) == 2_000 and heard.batches < 500


def test_a_call_that_blocks_does_not_keep_the_others_waiting() -> None:
    release = threading.Event()

    async def run() -> None:
        heard = Heard()
        link = LocalLink({("p", "block"): lambda params: release.wait(20), ("p", "quick"): lambda params: 1})
        link.attach(heard)
        link.deliver([delivery("p", "block", 1), *(delivery("p", "quick", n) for n in range(2, 50))])

        await until_async(lambda: len(heard.results) == 48, what="the quick ones")

        release.set()
        await until_async(lambda: len(heard.results) == 49, what="the slow one")
        link.close()

    asyncio.run(run())


def test_what_this_process_works_on_is_running_and_all_else_died_with_an_earlier_one() -> None:
    release = threading.Event()

    async def run() -> None:
        heard, link = Heard(), LocalLink({("p", "block"): lambda params: release.wait(20)})
        link.attach(heard)
        mine, gone = delivery("p", "block", 1), delivery("p", "block", 2)
        link.deliver([mine])

        link.probe([mine, gone])

        assert heard.words == [(mine.id, "running"), (gone.id, "lost")]
        release.set()
        link.close()

    asyncio.run(run())


def test_an_async_function_that_is_stopped_reports_nothing() -> None:
    async def run() -> None:
        stopped = asyncio.Event()

        async def forever(params: dict[str, Any]) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()

        heard, link = Heard(), LocalLink({("p", "forever"): forever})
        link.attach(heard)
        asked = delivery("p", "forever")
        link.deliver([asked])
        await asyncio.sleep(0)

        link.stop([asked.id])

        await asyncio.wait_for(stopped.wait(), 5)
        assert heard.results == []
        link.close()

    asyncio.run(run())


@dataclass
class Noted:
    """A link that notes what it is given."""

    delivered: list[list[str]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    probes: list[str] = field(default_factory=list)

    def deliver(self, deliveries: Sequence[Delivery]) -> None:
        self.delivered.append([one.call.plugin for one in deliveries])

    def stop(self, attempts: Sequence[str]) -> None:
        self.stopped += attempts

    def probe(self, deliveries: Sequence[Delivery]) -> None:
        self.probes += [one.call.plugin for one in deliveries]


def test_attempts_take_the_link_of_their_plugins_name_in_one_batch_each() -> None:
    exact, prefixed, longer, rest = Noted(), Noted(), Noted(), Noted()
    router = Router({"@workflow": exact, "@*": prefixed, "@llm*": longer}, rest)
    names = ["@workflow", "a", "@x", "@llm.chat", "b", "@workflow"]

    router.deliver([delivery(name, "act", number) for number, name in enumerate(names)])
    router.probe([delivery("@llm", "act"), delivery("a", "act")])
    router.stop(["one"])

    assert exact.delivered == [["@workflow", "@workflow"]] and rest.delivered == [["a", "b"]]
    assert prefixed.delivered == [["@x"]] and longer.delivered == [["@llm.chat"]]
    assert longer.probes == ["@llm"] and rest.probes == ["a"]
    assert [link.stopped for link in (exact, prefixed, longer, rest)] == [["one"]] * 4
