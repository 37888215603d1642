"""Infinite-LLM: an instance that is short of KV memory borrows from others, which then read that KV for it.

Source: Lin et al., Infinite-LLM: Efficient LLM Service for Long Context with DistAttention and Distributed KVCache,
arXiv 2401.02669: a manager that knows who owes whom, loans of whole blocks, the oldest KV moved first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from simulator.cluster.front import RouterFront
from simulator.cluster.links import Transfer
from simulator.cluster.remote_kv import RemoteKV
from simulator.cluster.router import Router
from simulator.cluster.topology import Topology
from simulator.core import InputError, Request
from simulator.engine.instance import Instance
from simulator.engine.kv_pool import CountingPool

if TYPE_CHECKING:
    from simulator.cluster.cluster import Cluster, Server


@dataclass(eq=False)
class Loan:
    """KV blocks that one instance holds for another: ``taken`` there, ``usable`` once KV has gone there instead."""

    debtor: Instance
    creditor: Instance
    blocks: int
    taken: bool = False
    usable: bool = False


class InfiniteLLM(RouterFront):
    """A router before instances, and a look at all of them every ``period`` ps for who needs memory and who has some.

    One needs memory if less than ``spare`` of its own blocks would be free after the first in its queue had its own. It
    borrows what it needs and half as much again, from those that have most beyond the share ``keep`` of their own, all
    of it at once or nothing; whoever borrows does not lend, nor does one where requests wait that its own memory could
    hold. The KV that makes room travels first (``token_bytes`` a
    token). What is not needed any more goes back; so does everything where nobody runs and what would be needed cannot
    be had. ``message_ps``: what asking others about their part adds to an iteration. ``loans`` is who owes whom. Pools
    must not share prefixes.
    """

    def __init__(
        self,
        router: Router,
        topology: Topology,
        token_bytes: float,
        *,
        period: int,
        message_ps: int = 0,
        spare: float = 0.05,
        keep: float = 0.2,
    ) -> None:
        if period <= 0 or message_ps < 0 or not 0 <= spare < 1 or not 0 <= keep < 1:
            raise InputError(
                f"period {period} ps, messages {message_ps} ps, spare {spare}, keep {keep}",
                hint="a period above 0, and shares from 0 to below 1",
            )
        super().__init__(router)
        self.topology, self.token_bytes = topology, token_bytes
        self.period, self.message_ps, self.spare, self.keep = period, message_ps, spare, keep
        self.loans: list[Loan] = []
        self.borrowed = 0  # blocks, of all loans that became usable

    def equip(self, servers: "Sequence[Server]") -> "Sequence[Server]":
        """Return the servers, able to read KV for others and to have theirs read."""
        return [
            server._replace(cost=RemoteKV(server.cost, self.message_ps))
            if self.members is None or index in self.members
            else server
            for index, server in enumerate(servers)
        ]

    def start(self, cluster: "Cluster") -> None:
        """Begin with all instances idle; a request may be as long as the memory of all of them allows."""
        super().start(cluster)
        instances = self.instances
        for instance in instances:
            if not (isinstance(instance.cost, RemoteKV) and isinstance(instance.core.kv, CountingPool)):
                raise InputError("KV memory that requests share cannot be borrowed", hint="prefix_caching: false")
            if not instance.core.scheduler.adopts:
                name = type(instance.core.scheduler).__name__
                raise InputError(f"scheduler {name} does not tell who waits for memory", hint="vllm or vllm_v0")
        if len({instance.core.kv.block_size for instance in instances}) > 1:
            raise InputError("KV blocks can be borrowed only from instances with the same block size")
        self._present = {instance.index: 0 for instance in instances}
        self._own = {instance.index: instance.core.kv.total for instance in instances}
        lendable = {index: total - int(self.keep * total) for index, total in self._own.items()}
        for instance in instances:
            core, own = instance.core, self._own[instance.index]
            blocks = own - int(self.spare * own) + sum(lendable.values()) - lendable[instance.index]
            core.most_tokens = max(core.most_tokens, min(core.max_model_len, blocks * core.kv.block_size + 1))
        cluster.every(self.period, self._look)

    def arrived(self, request: Request) -> None:
        """Send a request to the instance that the router picks."""
        index = self.router.route(request)
        self.router.sent(index, request)
        self._present[index] += 1
        self.cluster.instances[index].submit(request)

    def ended(self, instance: Instance, request: Request) -> None:
        """Tell the router; an instance that has nothing left pays back at once."""
        super().ended(instance, request)
        self._present[instance.index] -= 1
        if not self._present[instance.index] and any(loan.debtor is instance for loan in self.loans):
            instance.when_room(partial(self._pay_all, instance))

    def _look(self, now: int) -> None:
        """Let those that need memory borrow, in turn, and others pay back."""
        instances = self.instances
        free: dict[int, int] = {}
        for instance in instances:
            used = instance.blocks_used()
            free[instance.index] = instance.core.kv.total - used - instance.core.scheduler.promised(used)
        for instance in instances:
            index, core = instance.index, instance.core
            owed = [loan for loan in self.loans if loan.debtor is instance]
            if not all(loan.usable for loan in owed):
                continue
            waiting = list(_waiting(instance))
            spare = int(self.spare * self._own[index])
            need = spare - free[index] + (core.kv.blocks_for(waiting[0].tokens) if waiting else 0)
            if need > 0:
                running = self._present[index] - len(waiting)
                if not self._borrow(instance, need, free) and owed and not running:
                    instance.at_boundary(partial(self._pay, instance, owed))
            elif owed and -need >= owed[-1].blocks + spare:
                instance.at_boundary(partial(self._pay, instance, owed[-1:]))

    def _borrow(self, debtor: Instance, need: int, free: dict[int, int]) -> bool:
        """Ask those with most room for what is needed; return whether they have it."""
        debtors = {loan.debtor.index for loan in self.loans} | {debtor.index}
        room = {
            each.index: free[each.index] - int(self.keep * self._own[each.index])
            for each in self.instances
            if each.index not in debtors and self._can_spare(each)
        }
        if sum(blocks for blocks in room.values() if blocks > 0) < need:
            return False
        wanted = need + need // 2
        for index in sorted(room, key=lambda index: (-room[index], index)):
            blocks = min(wanted, room[index])
            if blocks <= 0:
                break
            creditor = self.cluster.instances[index]
            loan = Loan(debtor, creditor, blocks)
            self.loans.append(loan)
            creditor.when_room(partial(self._lend, loan))
            wanted -= blocks
            free[index] -= blocks
        return True

    def _can_spare(self, instance: Instance) -> bool:
        """Tell whether nobody waits at an instance who could run there without a loan."""
        first = next(_waiting(instance), None)
        return first is None or instance.core.kv.blocks_for(first.tokens) > self._own[instance.index]

    def _lend(self, loan: Loan) -> bool:
        """Take the blocks at the creditor and send KV there, if it still has them to spare."""
        kv = loan.creditor.core.kv
        if kv.free - loan.creditor.core.scheduler.promised(kv.used) < loan.blocks:
            self.loans.remove(loan)
            return True
        kv.take(loan.blocks)
        loan.taken = True
        path = self.topology.path(loan.debtor.index, loan.creditor.index)
        size = loan.blocks * kv.block_size * self.token_bytes
        self.cluster.network.send(path, size, partial(self._sent, loan))
        return True

    def _sent(self, loan: Loan, transfer: Transfer) -> None:
        loan.creditor.at_boundary(partial(self._read_for, loan, loan.blocks))
        loan.debtor.at_boundary(partial(self._use, loan))

    def _read_for(self, loan: Loan, blocks: int) -> None:
        """Read more KV for others at the creditor from the next iteration on, or less."""
        cost = loan.creditor.cost
        assert isinstance(cost, RemoteKV)
        cost.lent += blocks * loan.creditor.core.kv.block_size

    def _use(self, loan: Loan) -> None:
        """Give the debtor the room that its oldest KV left."""
        kv = loan.debtor.core.kv
        kv.total += loan.blocks
        kv.free += loan.blocks
        loan.usable = True
        self.borrowed += loan.blocks
        self._share(loan, loan.blocks)
        if not self._present[loan.debtor.index]:
            loan.debtor.when_room(partial(self._pay_all, loan.debtor))

    def _share(self, loan: Loan, blocks: int) -> None:
        cost = loan.debtor.cost
        assert isinstance(cost, RemoteKV)
        shares, creditor = cost.shares, loan.creditor.index
        shares[creditor] = shares.get(creditor, 0) + blocks * loan.debtor.core.kv.block_size
        if not shares[creditor]:
            del shares[creditor]

    def _pay_all(self, debtor: Instance) -> bool:
        """Pay everything back once all that ended has left; nothing if others came meanwhile."""
        if self._present[debtor.index]:
            return True
        if debtor.core.unheard:
            return False
        self._pay(debtor, [loan for loan in self.loans if loan.debtor is debtor and loan.usable])
        return True

    def _pay(self, debtor: Instance, loans: list[Loan]) -> None:
        """Pay loans back as far as nothing is in the room that they made."""
        kv = debtor.core.kv
        for loan in loans:
            if not loan.usable or kv.free - debtor.core.scheduler.promised(kv.used) < loan.blocks:
                continue
            kv.take(loan.blocks)
            kv.total -= loan.blocks
            loan.usable = False
            self._share(loan, -loan.blocks)
            self.cluster.soon(partial(self._paid, loan))

    def _paid(self, loan: Loan) -> None:
        """Let the creditor have its blocks again."""
        self.loans.remove(loan)
        loan.creditor.give_back(loan.blocks)
        loan.creditor.at_boundary(partial(self._read_for, loan, -loan.blocks))


def _waiting(instance: Instance) -> Iterator[Request]:
    """Yield the requests that wait at an instance, the first one first."""
    yield from chain(instance.core.scheduler.queue, instance.coming)  # type: ignore[arg-type]
