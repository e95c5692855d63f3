"""What the service saw of its callers: the evidence for promises about pace, quota, names and bytes."""

from __future__ import annotations

from collections import Counter, deque

__all__ = ["Witness"]


class Witness:
    """Counts and maxima since the start. Times are the server's UTC epoch seconds."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.max_requests_in_1s = 0
        self.max_requests_in_1s_by_endpoint: Counter[str] = Counter()
        self.max_outstanding = 0
        self.max_queries_at_once = 0
        self.max_files_at_once = 0
        self.tasks_made = 0
        self.duplicate_names: Counter[str] = Counter()
        self.bytes_served: Counter[str] = Counter()
        self.file_requests: Counter[str] = Counter()
        self.deletes_asked: Counter[str] = Counter()
        self.replies_lost: Counter[str] = Counter()
        self.busy_s = 0.0
        self.first_start_s = float("inf")
        self.last_end_s = float("-inf")
        self.link_delays_s: dict[str, float] = {}
        self._names: Counter[str] = Counter()
        self._recent: deque[float] = deque()
        self._recent_by_endpoint: dict[str, deque[float]] = {}

    def request(self, endpoint: str, now_s: float, *, signed: bool = True) -> None:
        """One request arrived. Only signed ones count for the pace: file fetches are not paced."""
        self.requests[endpoint] += 1
        if not signed:
            return
        self.max_requests_in_1s = max(self.max_requests_in_1s, _within_1s(self._recent, now_s))
        mine = _within_1s(self._recent_by_endpoint.setdefault(endpoint, deque()), now_s)
        self.max_requests_in_1s_by_endpoint[endpoint] = max(
            self.max_requests_in_1s_by_endpoint[endpoint], mine
        )

    def answered(self, endpoint: str, status: int) -> None:
        """How it ended; 0 stands for a broken connection."""
        self.statuses[f"{endpoint} {status}"] += 1

    def reply_lost(self, endpoint: str, *, carried_out: bool) -> None:
        """A caller did not learn what came of a request."""
        self.replies_lost[f"{endpoint} {'carried out' if carried_out else 'not carried out'}"] += 1

    def delete_asked(self, uuid: str) -> None:
        """Somebody wants a task gone, whatever comes of it."""
        self.deletes_asked[uuid] += 1

    def task_made(self, name: str, outstanding: int) -> None:
        """A task was made; now so many wait or run."""
        self.tasks_made += 1
        self.max_outstanding = max(self.max_outstanding, outstanding)
        self._names[name] += 1
        if name and self._names[name] > 1:
            self.duplicate_names[name] = max(self.duplicate_names[name], self._names[name])

    def task_gone(self, name: str) -> None:
        """A task was deleted, or vanished."""
        self._names[name] -= 1

    def task_runs(self, start_s: float, end_s: float) -> None:
        """An executor is busy with a task from then to then; one that is stuck counts for nothing."""
        self.first_start_s = min(self.first_start_s, start_s)
        if end_s < float("inf"):
            self.busy_s += end_s - start_s
            self.last_end_s = max(self.last_end_s, end_s)

    def task_stopped(self, left_s: float) -> None:
        """A running task was stopped so much before its end."""
        if left_s < float("inf"):
            self.busy_s -= left_s

    def link_asked(self, uuid: str, delay_s: float) -> None:
        """The link of a finished task was asked for, so long after its end; only the first time counts."""
        self.link_delays_s.setdefault(uuid, delay_s)

    def served(self, file_name: str, size: int) -> None:
        """Bytes of a file went out."""
        self.bytes_served[file_name] += size

    def live_duplicate_names(self) -> tuple[str, ...]:
        """Names that more than one live task bears now."""
        return tuple(sorted(name for name, count in self._names.items() if name and count > 1))

    def stats(self) -> dict[str, object]:
        """Everything, ready for JSON. ``duplicate_names_ever`` maps a name to the most tasks that bore it at
        once; ``executors`` says how long they were busy, all together, between the first start and the last
        end; ``links`` how long after its end a finished task's link was first asked for."""
        delays_s = self.link_delays_s.values()
        return {
            "requests": dict(self.requests),
            "statuses": dict(self.statuses),
            "max_requests_in_1s": self.max_requests_in_1s,
            "max_requests_in_1s_by_endpoint": dict(self.max_requests_in_1s_by_endpoint),
            "max_outstanding": self.max_outstanding,
            "max_queries_at_once": self.max_queries_at_once,
            "max_files_at_once": self.max_files_at_once,
            "tasks_made": self.tasks_made,
            "duplicate_names_live": list(self.live_duplicate_names()),
            "duplicate_names_ever": dict(self.duplicate_names),
            "bytes_served": dict(self.bytes_served),
            "file_requests": dict(self.file_requests),
            "deletes_asked": dict(self.deletes_asked),
            "replies_lost": dict(self.replies_lost),
            "executors": {
                "busy_s": self.busy_s,
                "span_s": max(0.0, self.last_end_s - self.first_start_s),
            },
            "links": {
                "tasks": len(delays_s),
                "mean_delay_s": sum(delays_s) / max(1, len(delays_s)),
                "max_delay_s": max(delays_s, default=0.0),
            },
        }


def _within_1s(times: deque[float], now_s: float) -> int:
    """How many of the requests, this one included, lie in the second that ends now (its far end excluded)."""
    if times and times[-1] > now_s + 1:
        times.clear()  # the clock was set back: what it said before tells nothing about this second
    times.append(now_s)
    while times[0] <= now_s - 1:
        times.popleft()
    return len(times)
