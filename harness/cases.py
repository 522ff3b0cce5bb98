"""Cases: plain data that decides an outcome completely, with ``eval(repr(case)) == case`` and JSON both ways."""

from __future__ import annotations

import ast
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moefuzz.kernels.kernel_config import KernelConfig

FORMAT_VERSION = 1

DTYPES = ("float32", "bfloat16", "float16")
PERMUTES = ("none", "x", "y")
ORDERS = ("sorted", "reversed", "shuffled")
LAYOUTS = ("contiguous", "transposed", "padded")
FAR_AXES = {"far": 0, "far rows": -2, "far columns": -1}  # the axis along which the last entry begins beyond 2**31 elements
FAR_LAYOUTS = (*LAYOUTS, *FAR_AXES)
DY_LAYOUTS = (*LAYOUTS, "expanded")
FAR_DY_LAYOUTS = (*DY_LAYOUTS, *FAR_AXES)
GRADS = ("XW", "X", "W", "")
RECIPES = ("integers", "signs", "normal", "wide", "cancelling", "zeros", "positive")
BLOCK_RECIPES = RECIPES[:-1]  # through a block, sums of one sign overflow float16
RELATIONS = (
    "repeated", "other shapes between", "experts permuted", "rows permuted", "empty expert inserted", "expert split", "rows in two calls",
    "row copied", "N padded", "K padded", "scaled", "foreign rows NaN", "foreign weights NaN", "other tiles", "strides dropped",
    "fewer gradients", "gradients accumulated", "autocast", "other stream", "graph replayed",
)  # fmt: skip
BLOCK_RELATIONS = (
    "repeated", "other shapes between", "foreign weights NaN", "foreign gradients NaN", "batch reshaped", "experts frozen",
    "gradients accumulated", "other stream",
)  # fmt: skip
ACTS = ("silu", "relu")
LOGIT_SIGNS = ("mixed", "negative")


class _Case:
    """Shared by all cases: a repr without the fields that have their default, JSON, and the check of closed choices."""

    def __repr__(self) -> str:
        fields = [field for field in dataclasses.fields(self) if getattr(self, field.name) != field.default]  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(f'{field.name}={getattr(self, field.name)!r}' for field in fields)})"

    def to_json(self) -> str:
        """One line of JSON, with the kind of case and the format version."""
        return json.dumps({"format": FORMAT_VERSION, "kind": type(self).__name__, **dataclasses.asdict(self)})  # type: ignore[call-overload]

    def _whole_numbers(self, rows: str) -> None:
        for name in (rows, *(field.name for field in dataclasses.fields(self) if field.type == "int")):  # type: ignore[arg-type]
            value = getattr(self, name)
            numbers = value if name == rows and isinstance(value, tuple) else (value,)
            if (name == rows and not isinstance(value, tuple)) or not all(type(number) is int for number in numbers):
                raise ValueError(f"{name} must be {'a tuple of whole numbers' if name == rows else 'a whole number'}, got {value!r}")

    def _choose(self, **choices: tuple[str, ...]) -> None:
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")

    def _at_least(self, smallest: int, *names: str) -> None:
        for name in names:
            if getattr(self, name) < smallest:
                raise ValueError(f"{name} must be at least {smallest}, got {getattr(self, name)}")


@dataclass(frozen=True, repr=False)
class GroupedGemmCase(_Case):
    """One call of a grouped GEMM with its backward pass: M = sum(m_sizes) + tail_rows rows, E = len(m_sizes) experts.

    >>> case = GroupedGemmCase(m_sizes=(2, 0), N=3, K=4, dtype='bfloat16')
    >>> case
    GroupedGemmCase(m_sizes=(2, 0), N=3, K=4, dtype='bfloat16')
    >>> eval(repr(case)) == case == case_from_json(case.to_json())
    True
    """

    m_sizes: tuple[int, ...]  # rows of each expert
    N: int = 1
    K: int = 1
    dtype: str = "float32"
    topk: int = 1
    permute: str = "none"  # "x": X is gathered; "y": Y is scattered
    is_first_gemm: bool = True  # under permute "x": X holds one row a token, M = T * topk
    fuse_mul_post: bool = False  # multiply by the routing weight; forward only
    tail_rows: int = 0  # rows beyond the sum of m_sizes; they hold NaN
    order: str = "sorted"  # gather_indices: sorted row r came from slot r, from M - 1 - r, or from a shuffled one
    x_layout: str = "contiguous"
    w_layout: str = "contiguous"
    dy_layout: str = "contiguous"
    grads: str = "XW"  # which inputs require grad
    config: KernelConfig | None = KernelConfig()  # of all three passes, aligned where they can be; None: the target's own choice
    data: str = "integers"
    seed: int = 0
    relation: str = ""  # a second call to be compared with the first: see relations.py

    def __post_init__(self) -> None:
        self._whole_numbers("m_sizes")
        if not self.m_sizes or min(self.m_sizes) < 0:
            raise ValueError(f"m_sizes must name at least one expert and no negative size, got {self.m_sizes}")
        self._at_least(1, "N", "K", "topk")
        self._at_least(0, "tail_rows", "seed")
        self._choose(dtype=DTYPES, permute=PERMUTES, order=ORDERS, x_layout=FAR_LAYOUTS, w_layout=FAR_LAYOUTS, dy_layout=FAR_DY_LAYOUTS)
        self._choose(grads=GRADS, data=RECIPES, relation=("", *RELATIONS))
        layouts = (self.x_layout, self.w_layout, self.dy_layout)
        config = self.config
        if config and config.aligned and (self.N % 8 or self.K % 8 or layouts != ("contiguous",) * 3):
            raise ValueError(f"an aligned config needs contiguous operands, N and K multiples of 8, got N={self.N}, K={self.K}, {layouts}")
        if self.M % self.topk:
            raise ValueError(f"topk must divide the number of rows {self.M}, got {self.topk}")
        if self.fuse_mul_post and self.grads:
            raise ValueError(f"fuse_mul_post has no backward pass, so grads must be '', got {self.grads!r}")

    @classmethod
    def fitted(cls, *, m_sizes: Sequence[int], **fields: Any) -> GroupedGemmCase:
        """The valid case nearest to fields that were chosen one by one.

        The last expert takes the rows that are missing to a multiple of topk; an aligned config rounds N and K up to 8 and wants contiguous
        operands; fuse_mul_post has no gradients; what has no effect goes back to its default.

        >>> GroupedGemmCase.fitted(m_sizes=[2, 1], topk=2, fuse_mul_post=True, order="reversed")
        GroupedGemmCase(m_sizes=(2, 2), topk=2, fuse_mul_post=True, order='reversed', grads='')
        """
        config = fields.get("config", KernelConfig())
        if config is not None and config.aligned:
            fields |= {"N": round_up(fields.get("N", 1), 8), "K": round_up(fields.get("K", 1), 8)}
            fields |= {"x_layout": "contiguous", "w_layout": "contiguous", "dy_layout": "contiguous"}
        if fields.get("fuse_mul_post"):
            fields |= {"grads": ""}
        elif fields.get("permute", "none") == "none":
            fields |= {"order": "sorted", "topk": 1}
        if fields.get("permute") != "x":
            fields |= {"is_first_gemm": True}
        missing = -(sum(m_sizes) + fields.get("tail_rows", 0)) % fields.get("topk", 1)
        return cls(m_sizes=(*m_sizes[:-1], m_sizes[-1] + missing), **fields)

    @property
    def M(self) -> int:
        return sum(self.m_sizes) + self.tail_rows

    @property
    def E(self) -> int:
        return len(self.m_sizes)

    @property
    def configs(self) -> tuple[KernelConfig | None, KernelConfig | None, KernelConfig | None]:
        """Those of forward, dX and dW: forward and dX can be aligned where their contraction is a whole number of tiles."""
        config = self.config
        if config is None or not config.aligned:
            return (config,) * 3
        masked = dataclasses.replace(config, aligned=False)
        return (masked if self.K % config.block_k else config, masked if self.N % config.block_n else config, config)

    @property
    def tokens_in(self) -> bool:
        """X holds one row a token rather than one a (token, choice)."""
        return self.permute == "x" and self.is_first_gemm


@dataclass(frozen=True, repr=False)
class MoeBlockCase(_Case):
    """One Qwen3 MoE block, forward and backward: T = sum(loads) / topk tokens, of which ``loads[e]`` choose expert e.

    >>> case = MoeBlockCase(loads=(2, 1, 0, 1), topk=2)
    >>> case.T, case.E, eval(repr(case)) == case_from_json(case.to_json())
    (2, 4, True)
    """

    loads: tuple[int, ...]  # tokens of each expert, each at most T
    topk: int = 1
    hidden_size: int = 16
    moe_intermediate_size: int = 8
    norm_topk_prob: bool = True
    dtype: str = "float32"
    act: str = "silu"
    logits: str = "mixed"  # signs of the router logits
    order: str = "sorted"  # which tokens an expert gets: neighbours, or shuffled ones
    permute_x: bool = False
    permute_y: bool = False
    config: KernelConfig | None = KernelConfig()
    data: str = "normal"
    seed: int = 0
    relation: str = ""  # a second run to be compared with the first: see block_relations.py

    def __post_init__(self) -> None:
        self._whole_numbers("loads")
        if not self.loads or min(self.loads) < 0:
            raise ValueError(f"loads must name at least one expert and no negative load, got {self.loads}")
        self._at_least(1, "topk", "hidden_size", "moe_intermediate_size")
        self._at_least(0, "seed")
        self._choose(dtype=DTYPES, act=ACTS, logits=LOGIT_SIGNS, order=("sorted", "shuffled"), data=BLOCK_RECIPES)
        self._choose(relation=("", *BLOCK_RELATIONS))
        if self.topk > self.E:
            raise ValueError(f"topk must be at most the number of experts {self.E}, got {self.topk}")
        if sum(self.loads) % self.topk or max(self.loads) > self.T:
            raise ValueError(f"loads must sum to T * topk with at most T each, got {self.loads} for topk = {self.topk}")
        if self.hidden_size < self.E:
            raise ValueError(f"hidden_size must be at least the number of experts {self.E}, got {self.hidden_size}")

    @classmethod
    def fitted(cls, *, loads: Sequence[int], **fields: Any) -> MoeBlockCase:
        """The valid case nearest to fields that were chosen one by one.

        topk and hidden_size are moved to what the number of experts allows; T is as small as the loads allow, and what they lack to
        T * topk is filled up from the last expert backward, busy experts first, so that starving ones starve if they can. An aligned
        config rounds sizes up.

        >>> MoeBlockCase.fitted(loads=[0, 3, 0], topk=2)
        MoeBlockCase(loads=(0, 3, 3), topk=2)
        """
        E, config = len(loads), fields.get("config", KernelConfig())
        topk = min(fields.get("topk", 1), E)
        fields |= {"topk": topk, "hidden_size": max(fields.get("hidden_size", 16), E)}
        if config is not None and config.aligned:
            multiple = max(config.block_n, config.block_k)
            fields |= {name: round_up(fields.get(name, 1), multiple) for name in ("hidden_size", "moe_intermediate_size")}
        T = max(*loads, -(-sum(loads) // topk), 0)
        filled, missing = list(loads), T * topk - sum(loads)
        for e in sorted(range(E), key=lambda e: (loads[e] == 0, -e)):
            more = min(missing, T - filled[e])
            filled[e], missing = filled[e] + more, missing - more
        return cls(loads=tuple(filled), **fields)

    @property
    def T(self) -> int:
        return sum(self.loads) // self.topk

    @property
    def E(self) -> int:
        return len(self.loads)


def round_up(n: int, block: int) -> int:
    """The next multiple of ``block``."""
    return -(-n // block) * block


Case = GroupedGemmCase | MoeBlockCase
_KINDS: dict[str, type[Case]] = {"GroupedGemmCase": GroupedGemmCase, "MoeBlockCase": MoeBlockCase}


def case_from_json(text: str) -> Case:
    """The case that ``to_json`` wrote; what it leaves out has its default. Raises ValueError for another format version, kind or field."""
    fields: dict[str, Any] = json.loads(text)
    version, kind = fields.pop("format", None), fields.pop("kind", None)
    if version != FORMAT_VERSION:
        raise ValueError(f"case has format {version}, this version of moefuzz reads {FORMAT_VERSION}")
    if kind not in _KINDS:
        raise ValueError(f"case must be one of {tuple(_KINDS)}, got {kind!r}")
    for name in ("m_sizes", "loads"):
        if isinstance(fields.get(name), list):
            fields[name] = tuple(fields[name])
    try:
        if isinstance(fields.get("config"), dict):
            fields["config"] = KernelConfig(**fields["config"])
        return _KINDS[kind](**fields)
    except TypeError as error:
        raise ValueError(f"{kind} cannot be made of these fields: {error}") from None


def case_from_repr(text: str) -> Case:
    """The case whose repr this is: a call of a case class with literal arguments. Raises ValueError otherwise."""
    try:
        case = _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, TypeError) as error:
        raise ValueError(f"not a case: {error}") from None
    if isinstance(case, GroupedGemmCase | MoeBlockCase):
        return case
    raise ValueError(f"not a case: {text!r}")


def _value(node: ast.expr) -> Any:
    """A literal, or a call of a case class or KernelConfig with such arguments; nothing else is run."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in (*_KINDS, "KernelConfig"):
        kind: Any = _KINDS.get(node.func.id, KernelConfig)
        return kind(*map(_value, node.args), **{keyword.arg or "": _value(keyword.value) for keyword in node.keywords})
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"not a case, nor a literal in one: {ast.unparse(node)}") from None
