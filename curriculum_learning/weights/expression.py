"""The text of a lambda as data: parsed, checked against a small grammar, compiled once.

A configuration is not code. ``lambda step: ...`` may name its one argument, numbers and a list of
mathematical functions, and nothing else, so reading a configuration can run nothing of its
author's choosing and cannot take unbounded time.
"""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Callable
from types import CodeType
from typing import Any

from curriculum_learning.weights.intervals import interval_of

MAX_TEXT = 2000
"""Longest accepted text, in characters."""

MAX_EXPONENT = 64
"""Largest absolute value of a constant exponent."""

_MATH_FUNCTIONS = {
    name: getattr(math, name)
    for name in [
        "acos",
        "acosh",
        "asin",
        "asinh",
        "atan",
        "atan2",
        "atanh",
        "cbrt",
        "ceil",
        "copysign",
        "cos",
        "cosh",
        "degrees",
        "erf",
        "erfc",
        "exp",
        "exp2",
        "expm1",
        "fabs",
        "floor",
        "fmod",
        "gamma",
        "hypot",
        "ldexp",
        "lgamma",
        "log",
        "log10",
        "log1p",
        "log2",
        "nextafter",
        "radians",
        "remainder",
        "sin",
        "sinh",
        "sqrt",
        "tan",
        "tanh",
        "trunc",
        "ulp",
    ]
    if hasattr(math, name)  # cbrt and exp2 came with Python 3.11
}
_CONSTANTS = {name: getattr(math, name) for name in ("pi", "e", "tau", "inf", "nan")}


def _power(base: float, exponent: float) -> float:
    # In floating point a power takes constant time; of whole numbers it may never end.
    result: float = float(base) ** float(exponent)
    if isinstance(result, complex):
        raise ValueError(f"{base} ** {exponent} is not a real number")
    return result


def _round(value: float, digits: int | None = None) -> float:
    # Likewise: rounding a whole number to -n digits computes 10 ** n.
    return round(value) if digits is None else round(float(value), digits)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "round": _round,
    "pow": _power,
    **_MATH_FUNCTIONS,
}
# The names in compiled code contain a dot, so that an argument cannot hide one of them.
_GLOBALS: dict[str, Any] = {
    f"math.{name}": value for name, value in {**_FUNCTIONS, **_CONSTANTS}.items()
}
_BINARY = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
_UNARY = (ast.UAdd, ast.USub, ast.Not)
_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
_ALLOWED = (
    "one argument, numbers, + - * / // % **, comparisons, and/or/not, x if c else y, "
    "min max abs round pow, and math functions and constants (exp or math.exp)"
)


def compile_lambda(text: str) -> Callable[[int], Any]:
    """Compiles ``lambda step: <expression>``.

    Powers are computed in floating point.

    Args:
        text: The lambda, at most 2,000 characters, with exactly one plain argument of any name.

    Returns:
        The function. It may still raise at some argument (a division by zero), and return a
        boolean (a comparison): what a result must be is for the caller to say.

    Raises:
        ValueError: The text is no lambda, or contains something outside the grammar; the message
            shows the offending piece.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"it has {len(text)} characters; at most {MAX_TEXT} are read")
    try:
        code = _compiled(text.strip())
    except (RecursionError, MemoryError):  # the parser's own limits depend on the Python
        raise ValueError("it is nested too deeply") from None
    function: Callable[[int], Any] = eval(code, {"__builtins__": {}, **_GLOBALS})
    return function


def _compiled(text: str) -> CodeType:
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"it is not valid Python: {error}") from None
    if not isinstance(tree, ast.Lambda):
        raise ValueError(f"it is not a lambda; expected 'lambda step: ...', with {_ALLOWED}")
    arguments = tree.args
    if (
        len(arguments.args) != 1
        or arguments.posonlyargs
        or arguments.kwonlyargs
        or arguments.vararg
        or arguments.kwarg
        or arguments.defaults
    ):
        raise ValueError(
            f"'{_unparsed(arguments)}': a schedule takes exactly one plain argument, the step"
        )
    body = _Checker(arguments.args[0].arg).visit(tree.body)
    checked = ast.Expression(ast.Lambda(args=arguments, body=body))
    return compile(ast.fix_missing_locations(checked), "<lambda>", "eval")


class _Checker(ast.NodeTransformer):
    """Refuses what is outside the grammar; turns ``math.x`` into ``x`` and powers into calls."""

    def __init__(self, argument: str) -> None:
        self.argument = argument

    def generic_visit(self, node: ast.AST) -> ast.AST:
        raise _refused(node, f"allowed are {_ALLOWED}")

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if type(node.value) not in (int, float):
            raise _refused(node, "only plain numbers are allowed here")
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id != self.argument and node.id not in _CONSTANTS:
            known = ", ".join(sorted([self.argument, *_CONSTANTS]))
            raise _refused(node, f"unknown name; known names are {known}")
        return node if node.id == self.argument else _global(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        name = self._math_name(node)
        if name is None or name not in _CONSTANTS:
            raise _refused(node, _instead(node))
        return _global(name)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        if not isinstance(node.op, _UNARY):
            raise _refused(node, f"allowed are {_ALLOWED}")
        return ast.UnaryOp(node.op, self.visit(node.operand))

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        if not isinstance(node.op, _BINARY):
            raise _refused(node, f"allowed are {_ALLOWED}")
        if isinstance(node.op, ast.Pow):
            return self._power_call(node, node.left, node.right)
        return ast.BinOp(self.visit(node.left), node.op, self.visit(node.right))

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        return ast.BoolOp(node.op, [self.visit(value) for value in node.values])

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        if not all(isinstance(operator, _COMPARISONS) for operator in node.ops):
            raise _refused(node, "allowed comparisons are < <= > >= == !=")
        return ast.Compare(
            self.visit(node.left), node.ops, [self.visit(value) for value in node.comparators]
        )

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        return ast.IfExp(self.visit(node.test), self.visit(node.body), self.visit(node.orelse))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        function = node.func
        name: str | None = None
        if isinstance(function, ast.Attribute):
            name = self._math_name(function)
        elif isinstance(function, ast.Name) and function.id != self.argument:
            name = function.id
        if name is None or name not in _FUNCTIONS:
            raise _refused(node, _instead(function))
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            raise _refused(node, "arguments are given by position, one by one")
        if name == "pow":
            if len(node.args) != 2:
                raise _refused(node, "pow takes two arguments")
            return self._power_call(node, *node.args)
        return ast.Call(_global(name), [self.visit(argument) for argument in node.args], [])

    def _math_name(self, node: ast.Attribute) -> str | None:
        is_math = isinstance(node.value, ast.Name) and node.value.id == "math" != self.argument
        return node.attr if is_math and hasattr(math, node.attr) else None

    def _power_call(self, node: ast.AST, base: ast.expr, exponent: ast.expr) -> ast.AST:
        if not self._is_bounded_power(base, exponent):
            raise _refused(
                node,
                f"a power may not grow without bound: keep the exponent a constant of at most "
                f"{MAX_EXPONENT}, or the base a constant between 0 and 1, or hold the exponent "
                f"down with min(..., constant)",
            )
        return ast.Call(_global("pow"), [self.visit(base), self.visit(exponent)], [])

    def _is_bounded_power(self, base: ast.expr, exponent: ast.expr) -> bool:
        exponents = interval_of(exponent, self.argument)
        if exponents.low == exponents.high:
            return abs(exponents.low) <= MAX_EXPONENT
        bases = interval_of(base, self.argument)
        if bases.low != bases.high or bases.low < 0:
            return False
        if bases.low in (0, 1):
            return exponents.low >= 0
        # base ** exponent is largest at one end of the exponent.
        ends = [end * math.log2(bases.low) for end in exponents]
        return max(ends) <= MAX_EXPONENT


def _instead(node: ast.expr) -> str:
    """Returns what to write in the place of a function or an attribute that is not known."""
    name = str(getattr(node, "attr", getattr(node, "id", "")))
    if isinstance(node, ast.Attribute):
        if name in _FUNCTIONS or name in _CONSTANTS:
            form = f"{name}(...)" if name in _FUNCTIONS else name
            return f"write {form}, without {_unparsed(node.value)}."
        return "the only attributes are those of math, such as math.pi"
    near = difflib.get_close_matches(name, _FUNCTIONS, n=1)
    known = f"only these may be called: {', '.join(sorted(_FUNCTIONS))}"
    return f"did you mean {near[0]}?" if near else known


def _global(name: str) -> ast.Name:
    return ast.Name(f"math.{name}", ast.Load())


def _refused(node: ast.AST, remedy: str) -> ValueError:
    return ValueError(f"'{_unparsed(node)}' is not allowed: {remedy}")


def _unparsed(node: ast.AST) -> str:
    try:
        return ast.unparse(node)
    except (ValueError, KeyError):  # some versions fail at numbers of many digits, and at -----1
        return type(node).__name__
