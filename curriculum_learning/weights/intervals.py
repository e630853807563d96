"""How large the value of an expression can become: interval arithmetic over its syntax tree.

Conservative: where it does not know it says everything is possible.
"""

from __future__ import annotations

import ast
import math
from typing import NamedTuple


class Interval(NamedTuple):
    """All values from ``low`` to ``high``, infinities included."""

    low: float
    high: float


EVERYTHING = Interval(-math.inf, math.inf)

_BOUNDED = {"sin": 1.0, "cos": 1.0, "tanh": 1.0, "erf": 1.0, "atan": math.pi / 2}


def interval_of(node: ast.expr, argument: str) -> Interval:
    """The values of an expression whose ``argument`` is any step >= 0."""
    try:
        return _interval(node, argument)
    except (OverflowError, ZeroDivisionError):
        return EVERYTHING


def _interval(node: ast.expr, argument: str) -> Interval:
    def of(part: ast.expr) -> Interval:
        return _interval(part, argument)

    match node:
        case ast.Constant(value=int() | float() as value):
            return Interval(float(value), float(value))
        case ast.Name(id=name) if name == argument:
            return Interval(0.0, math.inf)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            low, high = of(operand)
            return Interval(-high, -low)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return of(operand)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            (a, b), (c, d) = of(left), of(right)
            return Interval(a + c, b + d)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            (a, b), (c, d) = of(left), of(right)
            return Interval(a - d, b - c)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _product(of(left), of(right))
        case ast.BinOp(left=left, op=ast.Div() | ast.FloorDiv(), right=right):
            low, high = of(right)
            if low != high or low == 0:
                return EVERYTHING
            quotient = _product(of(left), Interval(1 / low, 1 / low))
            # Rounding down goes at most one lower.
            return (
                quotient
                if isinstance(node.op, ast.Div)
                else quotient._replace(low=quotient.low - 1)
            )
        case ast.Compare() | ast.UnaryOp(op=ast.Not()):
            return Interval(0.0, 1.0)
        case ast.IfExp(body=body, orelse=orelse):
            (a, b), (c, d) = of(body), of(orelse)
            return Interval(min(a, c), max(b, d))
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=args):
            return _call(name, [of(part) for part in args])
    return EVERYTHING


def _call(name: str, values: list[Interval]) -> Interval:
    if values and name == "min":
        return Interval(min(v.low for v in values), min(v.high for v in values))
    if values and name == "max":
        return Interval(max(v.low for v in values), max(v.high for v in values))
    if name == "abs" and len(values) == 1:
        low, high = values[0]
        return Interval(0.0, max(abs(low), abs(high)))
    if name in _BOUNDED:
        return Interval(-_BOUNDED[name], _BOUNDED[name])
    return EVERYTHING


def _product(left: Interval, right: Interval) -> Interval:
    # 0 times infinity is 0 here: a factor of 0 keeps anything at 0.
    ends = [0.0 if 0 in (a, b) else a * b for a in left for b in right]
    return Interval(min(ends), max(ends))
