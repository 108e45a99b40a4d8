"""The conditions of a scenario: `failed == 0`, `free_frames ==
before.free_frames`, `sum(domains.saved_frames) > 100`.

A small part of Python's expressions: names (fields of the reply, saved
replies, variables), fields by dot (of a list: the list of its members'
fields), numbers, strings, arithmetic, comparisons, and, or, not, [index], and
sum, min, max, len, abs.
"""

import ast
import operator

from errors import UserError

FUNCTIONS = {"sum": sum, "min": min, "max": max, "len": len, "abs": abs}
BINARY = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
          ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv,
          ast.Mod: operator.mod}
COMPARE = {ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt,
           ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
           ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b}
WORDS = {"true": True, "false": False}


def parse(text):
    """The expression's tree; UserError if it is none of ours."""
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as err:
        raise UserError(f"expect: `{text}': {err.msg}") from err
    allowed = (ast.Name, ast.Attribute, ast.Constant, ast.BinOp, ast.UnaryOp,
               ast.BoolOp, ast.Compare, ast.Subscript, ast.Call, ast.Load,
               ast.operator, ast.unaryop, ast.boolop, ast.cmpop)
    for node in ast.walk(tree):
        if not isinstance(node, allowed):
            raise UserError(f"expect: `{text}': {type(node).__name__} is not "
                            "for scenarios")
    return tree


def _field(value, name):
    if isinstance(value, list):
        return [_field(member, name) for member in value]
    if isinstance(value, dict) and name in value:
        return value[name]
    raise KeyError(name)


def _value(node, names):
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return WORDS[node.id] if node.id in WORDS else names[node.id]
        case ast.Attribute():
            return _field(_value(node.value, names), node.attr)
        case ast.Subscript():
            return _value(node.value, names)[_value(node.slice, names)]
        case ast.UnaryOp(op=ast.Not()):
            return not _value(node.operand, names)
        case ast.UnaryOp(op=ast.USub()):
            return -_value(node.operand, names)
        case ast.BinOp() if type(node.op) in BINARY:
            return BINARY[type(node.op)](_value(node.left, names),
                                         _value(node.right, names))
        case ast.BoolOp(op=ast.And()):
            return all(_value(v, names) for v in node.values)
        case ast.BoolOp():
            return any(_value(v, names) for v in node.values)
        case ast.Compare():
            left = _value(node.left, names)
            for op, right in zip(node.ops, node.comparators):
                right = _value(right, names)
                if not COMPARE[type(op)](left, right):
                    return False
                left = right
            return True
        case ast.Call(func=ast.Name(id=name)) if name in FUNCTIONS:
            return FUNCTIONS[name](*(_value(a, names) for a in node.args))
    raise ValueError(f"{type(node).__name__} is not for scenarios")


def evaluate(tree, names):
    """Its value. LookupError, TypeError, ValueError: it has none here."""
    return _value(tree, names)


def explain(tree, names):
    """`failed = 2, before.free_frames = 7`: what the names stood for."""
    seen = {}
    inner = {id(n.value) for n in ast.walk(tree)
             if isinstance(n, ast.Attribute)}
    called = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Name, ast.Attribute)) and \
                id(node) not in inner | called:
            try:
                seen[ast.unparse(node)] = _value(node, names)
            except (LookupError, TypeError, ValueError, ArithmeticError):
                seen[ast.unparse(node)] = "not there"
    return ", ".join(f"{name} = {value}" for name, value in seen.items())
