"""Random flows beside what they must come to, worked out by plain recursion."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entangle.dataflow import dataflow
from entangle.errors import FlowError


class Plan:
    """A node of a flow, before it is built.

    Attributes:
        fails: Whether its function raises.
        children: Plans, and lists of plans: of what a choosing function chooses.
    """

    def __init__(self, number, fails, children):
        self.number = number
        self.fails = fails
        self.children = children


@st.composite
def plans(draw, depth=3, known=None, numbers=None):
    """A plan whose nodes may stand under several parents of one choice."""
    known = [] if known is None else known
    numbers = iter(range(10**6)) if numbers is None else numbers
    children = []
    for _ in range(draw(st.integers(0, 3)) if depth else 0):
        kind = draw(st.sampled_from(["new", "new", "known", "choice"]))
        if kind == "known" and known:
            children.append(draw(st.sampled_from(known)))
        elif kind == "choice":
            inner = []
            count = draw(st.integers(0, 2))
            children.append(
                [draw(plans(depth - 1, inner, numbers)) for _ in range(count)]
            )
        else:
            children.append(draw(plans(depth - 1, known, numbers)))
    made = Plan(next(numbers), draw(st.integers(0, 5)) == 0, children)
    known.append(made)
    return made


def built(plan, made):
    """Build the flow of a plan, of one object for each node."""
    if plan not in made:

        @dataflow
        def node(*values):
            if plan.fails:
                raise ValueError(plan.number)
            return plan.number, values

        made[plan] = node(*[_child(child, made) for child in plan.children])
    return made[plan]


def _child(child, made):
    if not isinstance(child, list):
        return built(child, made)
    inner = {}
    flows = [built(each, inner) for each in child]
    return lambda value: flows or None


class Expected:
    """What some flows that are given one value come to."""

    def __init__(self, roots, value):
        self.order, self.parents = [], {}
        for root in roots:
            self._place(root, None)
        self.leaves, self.errors = [], []
        fates, self.value = {None: value}, value
        left = list(self.parents)
        while left:  # parents may be written after their children
            for plan in left:
                if all(parent in fates for parent in self.parents[plan]):
                    fates[plan] = self._fate(plan, fates)
            left = [plan for plan in left if plan not in fates]
        for plan, parent, chosen in self.order:
            if chosen is None:
                if not plan.children and isinstance(fates[plan], tuple):
                    self.leaves.append(fates[plan])
            elif isinstance(fates[parent], tuple):
                inner = Expected(chosen, fates[parent])
                self.leaves += inner.leaves
                self.errors += inner.errors

    def _place(self, plan, parent):
        if plan in self.parents:
            if parent not in self.parents[plan]:
                self.parents[plan].append(parent)
            return
        self.parents[plan] = [parent]
        self.order.append((plan, parent, None))
        for child in plan.children:
            if isinstance(child, list):
                self.order.append((None, plan, child))
            else:
                self._place(child, plan)

    def _fate(self, plan, fates):
        above = [fates[parent] for parent in self.parents[plan]]
        ran = tuple(fate for fate in above if fate not in {"failed", "skipped"})
        if "failed" in above or not ran:
            return "skipped"
        if plan.fails:
            self.errors.append(plan.number)
            return "failed"
        return plan.number, ran


def check(expected, outcome):
    if expected.errors:
        assert isinstance(outcome, FlowError)
        numbers = [error.args[0] for error in outcome.exceptions]
        assert sorted(numbers) == sorted(expected.errors)
    else:
        assert outcome == tuple(expected.leaves)


@settings(max_examples=100, deadline=None)
@given(plans())
@pytest.mark.parametrize("inline", [False, True])
def test_any_flow(inline, plan):
    with pytest.MonkeyPatch.context() as patch:
        if inline:
            patch.setenv("ENTANGLE_INLINE", "1")
        flow = built(plan, {})
        inputs = [("input", n) for n in range(3)]
        for value, outcome in zip(
            inputs, flow.stream(inputs, errors="yield", buffer=2), strict=True
        ):
            check(Expected([plan], value), outcome)
        try:
            outcome = flow(inputs[0])
        except FlowError as error:
            outcome = error
        check(Expected([plan], inputs[0]), outcome)
