"""A Nornir runner that starts each machine when it is its turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from nornir.core.inventory import Host
from nornir.core.task import AggregatedResult, MultiResult, Task

from tasks.maintenance.turns import Turn, next_turns


class TurnRunner:
    """Runs a task on all hosts in threads, in the order of the turns as far as
    :func:`next_turns` lets them."""

    def __init__(
        self,
        turns: Mapping[str, Turn],
        num_workers: int = 20,
        ending: Callable[[], bool] = lambda: False,
    ) -> None:
        """``turns`` has an entry for each host; at most ``num_workers`` work at once.

        Once ``ending`` is true it stays so, and the task does nothing any more on a host that it
        has not begun with: those that wait get it at once, since turns mean nothing any more.
        """
        self.turns = turns
        self.num_workers = num_workers
        self.ending = ending

    def run(self, task: Task, hosts: list[Host]) -> AggregatedResult:
        """All hosts' results, when the last one is done."""
        result = AggregatedResult(task.name)
        by_name = {host.name: host for host in hosts}
        waiting = {name: by_name[name] for name in self.turns if name in by_name}
        running: dict[Future[MultiResult], str] = {}
        with ThreadPoolExecutor(self.num_workers) as pool:
            while waiting or running:
                ending = self.ending()
                names = list(waiting)
                for name in names if ending else next_turns(self.turns, names, running.values()):
                    if ending or len(running) < self.num_workers:
                        running[pool.submit(task.copy().start, waiting.pop(name))] = name
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    result[running.pop(future)] = future.result()
        return result
