"""The people of the campaign: who submits, who approves, and who finds out what became of unknown changes.

Each is a thread with a client of its own.  Whatever is not acknowledged is asked again, as a person with
patience would; what is acknowledged goes into the book.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.programs import Away, Client, Refusal, quoted
from tests.torture.book import Book, Decision, Submission, Verdict
from tests.torture.work import RUNBOOKS, next_task

WINDOW = 36
"""How many runs are open at once, as far as people can keep up."""

LOOKS_AFTER_S = 12.0
"""How long it may take until somebody looks at an unknown step: long enough for an engine to do it wrong."""

PAUSE_S = 0.1
STOPPED_WITHIN_S = 60.0
TRY_AGAIN = (429, 500, 503, 504)


class Person:
    """Does `once` again and again, in a thread, until told to stop."""

    def __init__(self, name: str, client: Client, book: Book, *, seed: int) -> None:
        self.name, self.client, self.book = name, client, book
        self.random = random.Random(f"{seed}/{name}")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self.broke = False

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after what is being done now."""
        self._stop.set()
        self._thread.join(STOPPED_WITHIN_S)

    def once(self) -> None:
        """One round."""

    def patiently(self, ask: Callable[[], Any]) -> tuple[Any, bool]:
        """(answer, whether it was asked only once); asks again while the engine is away or busy.

        Raises Refusal when it says no, Away when the person is to stop.
        """
        first = True
        while True:
            try:
                return ask(), first
            except Away:
                if self._stop.is_set():
                    raise
            except Refusal as refusal:
                if refusal.status not in (*TRY_AGAIN, 401) or self._stop.is_set():
                    raise
                if refusal.status == 500:
                    self.book.violated(f"{self.name} met an internal error: {refusal}")
            first = False
            self._stop.wait(PAUSE_S)

    def _live(self) -> None:
        try:
            while not self._stop.is_set():
                self.once()
                self._stop.wait(PAUSE_S)
        except Away:
            pass  # Told to stop while the engine was away.
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the campaign and is told
            self.broke = True
            self.book.violated(f"{self.name} gave up on {type(error).__name__}: {error}")


class Submitter(Person):
    """Keeps the window full."""

    def once(self) -> None:
        while len(self.book.open()) < WINDOW and not self._stop.is_set():
            task = next_task(self.random, len(self.book.submissions))
            submission = self.book.submissions[task.key] = Submission(task)
            try:
                submission.run = self._submit(submission)
            except Away:
                del self.book.submissions[task.key]  # Never acknowledged, and nobody asks again.
                raise
            self.book.happened("submitted")
            if self.random.random() < 0.1 and (again := self._submit(submission)) != submission.run:
                self.book.violated(f"{task.key} was acknowledged as {submission.run} and then as {again}")

    def _submit(self, submission: Submission) -> str:
        task = submission.task
        body, headers = {"inputs": task.inputs}, {"Idempotency-Key": task.key}
        answer, _ = self.patiently(
            lambda: self.client.post(f"/workflows/{task.workflow}:run", body, headers=headers)
        )
        return str(answer["id"])


class Approver(Person):
    """Decides whatever waits: mostly yes, sometimes no."""

    def once(self) -> None:
        waiting, _ = self.patiently(lambda: self.client.get("/approvals?status=pending&limit=200"))
        items = waiting["items"]
        self.random.shuffle(items)
        for number, item in enumerate(items):
            if self._stop.is_set():
                return
            self._decide(item, number)

    def _decide(self, item: dict[str, Any], number: int) -> None:
        approve = self.random.random() < 0.93
        comment = f"{self.name} {time.monotonic_ns()} {number}"
        verb, body = "reject", {"comment": comment}
        if approve:
            verb, body = "approve", {"comment": comment, "digest": item["digest"]}
        acknowledged = False
        try:
            answer, _ = self.patiently(lambda: self.client.post(f"/approvals/{item['id']}:{verb}", body))
            acknowledged = answer["comment"] == comment
            if not acknowledged:
                self.book.violated(f"{item['id']}: {verb} was acknowledged with another answer: {answer}")
        except Refusal as refusal:
            if refusal.code not in ("already_decided", "approval_withdrawn", "conflict"):
                self.book.violated(f"{item['id']}: {verb} was refused: {refusal}")
            # Decided by the other person, or by this one when the answer got lost.
            acknowledged = refusal.error.get("details", {}).get("comment") == comment
        decision = Decision(item["id"], item["execution"], item["step"], approve, comment, acknowledged)
        self.book.decisions.append(decision)
        self.book.happened("decided")


class Resolver(Person):
    """Watches open runs, and finds out by evidence what became of a change that nobody knows about.

    A line in the file says that it happened.  No line says that it did not, and will not, once every agent
    that was alive when the step was first seen unknown is dead; `restart_agent` makes sure of that.
    """

    def __init__(
        self,
        name: str,
        client: Client,
        book: Book,
        *,
        seed: int,
        changes: Path,
        restart_agent: Callable[[], None],
    ) -> None:
        super().__init__(name, client, book, seed=seed)
        self._changes, self._restart_agent = changes, restart_agent
        self._first_seen: dict[tuple[str, str, int], tuple[int, float]] = {}
        self.impatient = False
        """Restart the agent rather than wait until somebody else kills it."""

    def once(self) -> None:
        heads, _ = self.patiently(
            lambda: self.client.get("/executions?status=running&status=ending&limit=500")
        )
        for head in heads["items"]:
            execution = self._look(head["id"])
            for step in execution["steps"]:
                if step["status"] == "unknown":
                    self._resolve(execution["id"], step)
        for submission in self.book.open():
            if submission.run and submission.run not in [head["id"] for head in heads["items"]]:
                self._look(submission.run)

    def _look(self, run: str) -> dict[str, Any]:
        execution: dict[str, Any]
        execution, _ = self.patiently(lambda: self.client.get(f"/executions/{run}"))
        if execution["finished_ms"]:
            self.book.ended[run] = execution["status"]
        return execution

    def _resolve(self, run: str, step: dict[str, Any]) -> None:
        place = (run, step["id"], step["attempt"])
        self.book.unknown_seen.add(place)
        soon_s = time.monotonic() + self.random.choice([0, LOOKS_AFTER_S]) * self.random.random()
        generation, not_before_s = self._first_seen.setdefault(place, (self.book.generation, soon_s))
        if time.monotonic() < not_before_s:
            return
        if self._happened(place):
            verdict = "completed"
        elif generation < self.book.generation:
            # Only now is the absence of a line final; it may have appeared since it was looked for.
            verdict = (
                "completed" if self._happened(place) else self.random.choice(["retry", "retry", "failed"])
            )
        elif self.impatient:
            self._restart_agent()
            return
        else:
            return
        body = {"verdict": verdict, "output": {"found": "its line"} if verdict == "completed" else None}
        acknowledged = True
        try:
            self.patiently(
                lambda: self.client.post(f"/executions/{run}/steps/{quoted(step['id'])}:resolve", body)
            )
        except Refusal as refusal:
            acknowledged = False  # Its own result came first, or the answer to the first try got lost.
            if refusal.status != 409:
                self.book.violated(f"{run}/{step['id']}: resolving was refused: {refusal}")
        self.book.verdicts.append(Verdict(*place, verdict, acknowledged))

    def _happened(self, place: tuple[str, str, int]) -> bool:
        run, step, attempt = place
        return any(line["attempt"] == f"{run}/{step}/1/{attempt}" for line in read_changes(self._changes))


def read_changes(path: Path) -> list[dict[str, Any]]:
    """The lines that the agents left."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def store_runbooks(client: Client) -> None:
    """Create everything that is going to be run."""
    for text in RUNBOOKS.values():
        client.post("/workflows", text)
