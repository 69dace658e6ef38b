"""Registry: schemas by id and by subject, from memory, from disk, or from the registry by a thread of its own.

Whoever asks never waits: what is not known is Pending while it is asked for, and a Misfit while it cannot be had. An
answer is a dictionary's entry, set by the thread and read by the loop.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from bridge.config import SchemaRegistry as Settings
from bridge.schemas.registered import Usable, usable
from bridge.schemas.registry_client import Registered, RegistryClient, Unknown, Unreachable
from bridge.schemas.registry_store import RegistryStore
from bridge.schemas.schema import UNAVAILABLE, Misfit, Pending, SchemaError

_log = logging.getLogger(__name__)
_ASKED_MAX: Final = 64
"""Questions that wait for the thread; more are answered with "not available"."""

_Found = TypeVar("_Found")
Question = tuple[str, int, str]
"""`("id", id, subject or "")` or `("subject", 0, subject)`."""


class _Answer:
    """What is known, until when, and why there is nothing."""

    __slots__ = ("found", "problem", "until")

    def __init__(self, found: Usable | None, problem: Misfit | None, until: float) -> None:
        self.found = found
        self.problem = problem
        self.until = until


class Registry:
    """One registry; `close` ends its thread."""

    def __init__(
        self, settings: Settings, client: RegistryClient, store: RegistryStore, now: Callable[[], float]
    ) -> None:
        """`now`: a clock in seconds that only goes forward."""
        self._settings = settings
        self._client = client
        self._store = store
        self._now = now
        self._answers: dict[Question, _Answer] = {}
        self._asked: set[Question] = set()
        self._away = ""
        """What the registry's absence was like; empty: it is there, as far as we know."""
        self._away_until = float("-inf")
        self._questions: queue.Queue[Question | None] = queue.Queue(_ASKED_MAX)
        self._thread = threading.Thread(target=self._answer_all, name="schema-registry", daemon=True)
        self._thread.start()

    def by_id(self, schema_id: int, subject: str | None) -> Usable:
        """The schema with this id, which has to belong to the subject, if one is given. Raises Misfit, Pending."""
        return self._find(("id", schema_id, subject or ""))

    def latest(self, subject: str) -> Usable:
        """The subject's latest schema, as of `schema_registry.refresh` ago at the most. Raises Misfit, Pending."""
        return self._find(("subject", 0, subject))

    def close(self) -> None:
        """Ends the thread after the question that it is at; what was not asked stays unasked."""
        try:
            self._questions.put_nowait(None)
        except queue.Full:
            _log.debug("the registry's thread has questions left; it ends with the process")

    def _find(self, question: Question) -> Usable:
        answer = self._answers.get(question)
        if answer is None:
            self._ask(question)
            if question in self._asked:
                raise Pending
            raise Misfit("the schema registry has been asked for too many schemas at once", UNAVAILABLE)
        if self._now() >= answer.until:
            self._ask(question)
        if answer.problem is not None:
            raise Misfit(str(answer.problem), answer.problem.error)
        assert answer.found is not None
        return answer.found

    def _ask(self, question: Question) -> None:
        if question not in self._asked:
            self._asked.add(question)  # (before the thread can have answered)
            try:
                self._questions.put_nowait(question)
            except queue.Full:
                self._asked.discard(question)

    def _answer_all(self) -> None:
        while (question := self._questions.get()) is not None:
            try:
                answer = self._answer(question)
            except Exception:
                _log.exception("a mistake in the gateway, while the schema registry was asked for %s", question)
                answer = self._nothing("a mistake in the gateway", UNAVAILABLE)
            self._remember(question, answer)
            self._asked.discard(question)

    def _answer(self, question: Question) -> _Answer:
        kind, schema_id, subject = question
        known = self._answers.get(question)
        try:
            if kind == "subject":
                return self._latest(subject, known)
            return _Answer(usable(self._registered(schema_id, subject)), None, float("inf"))
        except (Unreachable, SchemaError) as error:
            if isinstance(error, SchemaError):
                _log.warning("schema registry: %s", error)
            if known is not None and known.found is not None:
                return _Answer(known.found, None, self._now() + self._settings.retry)
            return self._nothing(str(error), UNAVAILABLE)
        except Unknown as error:
            return self._nothing(str(error), "schema-unknown")

    def _latest(self, subject: str, known: _Answer | None) -> _Answer:
        """At first what the disk says, which is then asked for anew at once."""
        if known is None and (kept := self._store.latest(subject)) is not None:
            registered = self._store.schema(kept)
            if registered is not None:
                return _Answer(usable(registered), None, self._now())
        schema_id = self._reach(lambda: self._client.latest_id(subject))
        if known is not None and known.found is not None and known.found.id == schema_id:
            return _Answer(known.found, None, self._now() + self._settings.refresh)
        found = usable(self._registered(schema_id, ""))
        self._keep(lambda: self._store.keep_latest(subject, schema_id))
        return _Answer(found, None, self._now() + self._settings.refresh)

    def _registered(self, schema_id: int, subject: str) -> Registered:
        """From disk where it is there. Raises Unreachable, Unknown."""
        kept = self._store.schema(schema_id)
        if kept is None or (subject and subject not in kept.subjects):
            kept = self._reach(lambda: self._client.by_id(schema_id))
            fresh = kept
            self._keep(lambda: self._store.keep(fresh))
        if subject and subject not in kept.subjects:
            raise Unknown(f"schema {schema_id} does not belong to the subject {subject!r}")
        return kept

    def _reach(self, ask: Callable[[], _Found]) -> _Found:
        """Asks the registry, unless it was away a moment ago: each question would wait for as long as the last one."""
        if self._now() < self._away_until:
            raise Unreachable(self._away)
        try:
            found = ask()
        except Unreachable as error:
            if not self._away:
                _log.warning("the schema registry is away, what is not known waits for it no longer: %s", error)
            self._away, self._away_until = str(error), self._now() + self._settings.retry
            raise
        if self._away:
            self._away = ""
            _log.info("the schema registry answers again")
        return found

    def _keep(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            _log.warning("the schema registry's answer cannot be kept on disk: %s", error)

    def _nothing(self, why: str, error: str) -> _Answer:
        return _Answer(None, Misfit(why, error), self._now() + self._settings.retry)

    def _remember(self, question: Question, answer: _Answer) -> None:
        """Ids that are not there may be invented without end: they are the first to be forgotten."""
        answers = self._answers
        if question not in answers and len(answers) >= self._settings.schemas_max:
            empty = (each for each, held in list(answers.items()) if held.found is None)
            del answers[next(empty, next(iter(answers)))]
        answers[question] = answer
