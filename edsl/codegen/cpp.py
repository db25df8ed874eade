"""A recorded step as C++ text: one function over many layers.

The function takes a table with one row a layer: its number of elements and where its tensors lie. So
one call steps a whole model, whatever its shapes, without copies. Scalars are computed once a layer,
in double; sums are taken in double over blocks of a fixed size, so that results don't depend on the
number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from edsl.codegen.cpp_formats import block_begin, block_bounds, closing, opening, prelude, value_read, write
from edsl.codegen.expression import Expression, operation, postorder
from edsl.codegen.loops import SUMS, Loop, LoopSchedule, is_wide, scalars_met, schedule
from edsl.codegen.signature import KernelSignature, tensors
from edsl.codegen.trace import Trace
from edsl.numerics.formats.format import StateFormat
from edsl.numerics.stochastic_rounding import CXX, CXX_WITHIN, CXX_WITHIN_FLOAT16, SPREAD, odd_of
from edsl.numerics.weights.form import REST, WEIGHT

TYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
    torch.int16: "int16_t",
}
BLOCK = 1024  # elements that are added in the working dtype
SMALL = 1 << 16  # layers below this many elements run one on each thread
SCRATCH = 1 << 22  # layers up to this many elements keep values aside
LEADING = ("count", "live", "step", "key", "width")  # the entries of a row of the table before the addresses

PRELUDE = """\
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

struct bfloat16 { uint16_t bits; };
static inline float widened(bfloat16 x) {
  uint32_t bits = uint32_t(x.bits) << 16; float y; std::memcpy(&y, &bits, 4); return y;
}
static inline float widened(float x) { return x; }
static inline double widened(double x) { return x; }
static inline float widened(int16_t x) { return float(x); }
static inline void put(float& to, float x) { to = x; }
static inline void put(float& to, double x) { to = float(x); }
static inline void put(double& to, double x) { to = x; }
static inline void put(bfloat16& to, float x) {
  uint32_t bits; std::memcpy(&bits, &x, 4);
  uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  to.bits = uint16_t(x == x ? rounded : 0x7fc0u);
}
static inline void put(bfloat16& to, double x) { put(to, float(x)); }
"""
OPENMP = """\
#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_thread_num() { return 0; }
#endif
"""
HALF = """\
typedef _Float16 float16;
static inline float widened(float16 x) { return float(x); }
static inline void put(float16& to, float x) { to = float16(x); }
"""


def columns(buffers: int, normals: int) -> tuple[str, ...]:
    """The entries of a row of the table: a number of elements, then addresses.

    That of the number of steps taken, an int64 which is counted up, is 0 where it is not to be; the key
    is that of stochastic rounding; the width is that of a row of codes.
    """
    return (*LEADING, *tensors(buffers, normals))


def source(parts: Sequence[tuple[Trace, KernelSignature]], normals: int) -> tuple[str, list[int]]:
    """The C++ text of steps, step0, step1, …, and how many values an element each keeps aside."""
    dtypes = {dtype for _, signature in parts for dtype in signature.all}
    recording, signature = parts[0]
    text = [PRELUDE]
    formats = [form for _, signature in parts for form in signature.formats.values()]
    if torch.bfloat16 in dtypes or recording.weights.rounds or formats:
        text += [CXX, CXX_WITHIN]
    if torch.float16 in dtypes:
        text += [HALF, CXX_WITHIN_FLOAT16]
    text += [OPENMP, recording.weights.cpp(signature.theta), prelude(formats)]
    kept = []
    for number, (recording, signature) in enumerate(parts):
        body, spilled = _step(number, recording, signature, normals)
        text.append(body)
        kept.append(spilled)
    return "\n".join(text), kept


def _step(number: int, recording: Trace, signature: KernelSignature, normals: int) -> tuple[str, int]:
    """One function over many layers, in a namespace of its own."""
    exact = tuple(dtype == signature.work for dtype in signature.buffers)
    keeping, lean = schedule(recording, exact, keep=True), schedule(recording, exact, keep=False)
    kinds = signature.behind(normals, recording.updates)
    types = {name: "uint8_t" if isinstance(kind, StateFormat) else TYPES[kind] for name, kind in kinds.items()}
    formats = signature.formats
    names = columns(len(signature.buffers), normals)
    work = TYPES[signature.work]
    parts = [f"namespace part{number} {{"]
    parts.append(f"typedef {work} W;\nstatic const W largest = {'FLT_MAX' if work == 'float' else 'DBL_MAX'};\n")
    parts.append(_layer("keeping", recording, keeping, names, types, formats))
    if keeping.spilled:
        parts.append(_layer("lean", recording, lean, names, types, formats))
    parts += [_driver(number, len(names), keeping.spilled), "}"]
    return "\n".join(parts), keeping.spilled


def _layer(
    name: str,
    recording: Trace,
    made: LoopSchedule,
    names: Sequence[str],
    types: dict[str, str],
    formats: dict[int, StateFormat],
) -> str:
    """The function that steps one layer."""
    lines = [
        f"static void {name}(const int64_t* row, W* aside, int64_t threads) {{",
        "  const int64_t n = row[0];",
        "  const double* live = (const double*)row[1];",
        "  const uint32_t key = uint32_t(row[3]);",
    ]
    for place, column in enumerate(names[len(LEADING) :], start=len(LEADING)):
        lines.append(f"  {types[column]}* const {column}_ = ({types[column]}*)row[{place}];")
    lines.append("  (void)live; (void)aside; (void)key;")
    scalars = ScalarNames()
    for number, one in enumerate(made.passes):
        lines += _pass(recording, one, number, scalars, types, formats)
    lines += _behind(recording, scalars)
    lines += [f"((double*)out_)[{place}] = {scalars.of(total)};" for place, total in enumerate(recording.sums)]
    lines.append("}")
    return "\n".join(line if line.startswith(" ") or line[-1] in "{}" else f"  {line}" for line in lines) + "\n"


def _behind(recording: Trace, scalars: ScalarNames) -> list[str]:
    """The lines that write the numbers of the layer, once all of them are read."""
    after = [(place, recording.after[place]) for place in recording.counted]
    needed = [node for node in postorder([node for _, node in after]) if not node.is_element]
    lines = scalars.declare([node for node in needed if node.op not in SUMS])
    return lines + [f"put(buffer{place}_[0], {scalars.of(node)});" for place, node in after]


class ScalarNames:
    """The names of values that a whole layer shares, each declared once."""

    def __init__(self) -> None:
        self.names: dict[Expression, str] = {}
        self.cast: dict[Expression, str] = {}

    def declare(self, nodes: Sequence[Expression]) -> list[str]:
        """Lines that compute what is not there yet."""
        lines = []
        for node in nodes:
            if node in self.names or node.op == "constant":
                continue
            if node.op in SUMS:
                raise AssertionError("a sum is declared by the pass that takes it")
            kind = "bool" if node.is_condition else "double"
            self.names[node] = f"s{len(self.names)}"
            lines.append(f"  const {kind} {self.names[node]} = {self.text(node)};")
        return lines

    def text(self, node: Expression) -> str:
        if node.op == "live":
            return f"live[{node.parts[0]}]"
        if node.op == "read":
            return f"double(widened(buffer{node.parts[1]}_[0]))"
        return _call(node, [self.of(part) for part in node.parts])

    def of(self, node: Expression) -> str:
        return _number(node) if node.op == "constant" else self.names[node]

    def widen(self, node: Expression) -> list[str]:
        """A scalar in the working dtype, as elements meet it."""
        if node in self.cast or node.op == "constant" or node.is_condition:
            return []
        self.cast[node] = f"c{len(self.cast)}"
        return [f"  const W {self.cast[node]} = W({self.names[node]});"]

    def beside_elements(self, node: Expression) -> str:
        if node.op == "constant":
            return f"W({_number(node)})"
        return self.names[node] if node.is_condition else self.cast[node]


def _pass(
    recording: Trace,
    one: Loop,
    number: int,
    scalars: ScalarNames,
    types: dict[str, str],
    formats: dict[int, StateFormat],
) -> list[str]:
    """The lines of one loop over a layer, with the scalars that it needs before and makes after."""
    roots = one.roots(recording)
    nodes = one.elements(roots)
    met = scalars_met(nodes, roots)
    shared = [node for node in postorder(met) if not node.is_element and _known(node, scalars)]
    lines = scalars.declare([node for node in shared if node.op not in SUMS])
    lines += [line for node in met for line in scalars.widen(node)]
    elements, body = _body(nodes, one, scalars, formats)
    for place, value in enumerate(one.spilled):
        body.append(f"kept{place}[i] = {elements[value]};")
    values = {**elements, **{node: scalars.beside_elements(node) for node in met}}
    written = [i for i in one.buffers if i in formats]
    if written:
        body.append("words[i - begin] = word;")
    for i in one.buffers:
        value = _value(recording.after[i], values)
        if i == recording.rest:
            body.append(f"put_rest(buffer{i}[i], {value}, {_word(REST)});")
        elif i in formats:
            body += write(i, f"W({value})")
        else:
            body.append(_write(i, recording.places[i], types[f"buffer{i}"], value))
    if one.moves:
        ends = f"{'put_weight' if recording.cuts_weights else 'put'}(out[i], {{}}{{}});"
        word = f", {_word(WEIGHT)}" if recording.cuts_weights else ""
        body += [ends.format(_value(made, values), word) for made in recording.moved]
    for place, total in enumerate(one.sums):
        value = values[total.parts[0]]
        one_of = f"double({value})" if is_wide(total) else value
        body.append(f"sum{place} += {one_of} * {one_of};" if total.op == "norm" else f"sum{place} += {one_of};")
    if any("word" in line for line in body):
        body.insert(0, "const uint32_t word = word_at(spread, key);")
    lines += _loop(body, one, number, types, formats, recording.places)
    for place, total in enumerate(one.sums):
        whole = f"total{number}[{place}]"
        scalars.names[total] = f"s{len(scalars.names)}"
        found = {"norm": f"W(std::sqrt({whole}))", "mean": f"W({whole} / double(n))", "total": whole}[total.op]
        lines.append(f"  const double {scalars.names[total]} = {found};")
    return lines


def _loop(
    body: list[str],
    one: Loop,
    number: int,
    types: dict[str, str],
    formats: dict[int, StateFormat],
    places: Sequence[int],
) -> list[str]:
    """Loops over blocks of elements, on one thread or several, around what happens to one element."""
    count = len(one.sums)
    text = "\n".join(body)
    used = [name for name in types if f"{name}[i]" in text]
    written = [i for i in one.buffers if i in formats]
    lines = [*(block_bounds(number) if formats else [f"  const int64_t blocks{number} = (n + {BLOCK - 1}) / {BLOCK};"])]
    lines += [f"  auto pass{number} = [=](int64_t block, double* totals) {{", "    (void)totals;"]
    even = f"    const int64_t begin = block * {BLOCK}, end = begin + {BLOCK} < n ? begin + {BLOCK} : n;"
    lines += block_begin(number) if formats else [even]
    lines += opening(number, formats, [i for i in formats if value_read(i) in text], written)
    lines += [f"    {types[name]}* __restrict const {name} = {name}_;" for name in used if name != "out"]
    if "out" in used:  # θ itself, where it is updated
        lines.append(f"    {types['out']}* const out = out_;")
    kept = sorted({int(part.split("[")[0]) for part in text.split("kept")[1:]})
    lines += [f"    W* __restrict const kept{place} = aside + {place} * n;" for place in kept]
    kinds = ["double" if is_wide(total) else "W" for total in one.sums]
    lines += [f"    {kind} sum{place} = 0;" for place, kind in enumerate(kinds)]
    sums = f" reduction(+:{', '.join(f'sum{place}' for place in range(count))})" if count else ""
    bounds = ", ".join(f"high{i}, low{i}" for i in written)
    sums += f" reduction(max:{bounds})" if written else ""
    draws = "word_at(spread" in text  # which is i times a constant, added up: a product of each i takes longer
    if draws:
        lines.append(f"    uint32_t spread = uint32_t(begin) * {SPREAD:#x}u;")
    sums += f" linear(spread:{SPREAD:#x})" if draws else ""
    lines += [f"    #pragma omp simd{sums}", "    for (int64_t i = begin; i < end; i++) {"]
    lines += [f"      {line}" for line in [*body, *([f"spread += {SPREAD:#x}u;"] if draws else [])]]
    lines += ["    }", *closing(formats, written, places)]
    lines += [*(f"    totals[{place}] = double(sum{place});" for place in range(count)), "  };"]
    totals = f"totals{number} + {count} * block" if count else "nullptr"
    if count:
        lines.append(f"  double few{number}[{count}];")
        lines.append(f"  std::vector<double> many{number}(blocks{number} > 1 ? {count} * blocks{number} : 0);")
        lines.append(f"  double* const totals{number} = blocks{number} > 1 ? many{number}.data() : few{number};")
    loop = f"for (int64_t block = 0; block < blocks{number}; block++)"
    lines += [
        "  if (threads > 1) {",
        "    #pragma omp parallel for num_threads(threads) schedule(static)",
        f"    {loop} pass{number}(block, {totals});",
        f"  }} else {{ {loop} pass{number}(block, {totals}); }}",
    ]
    if count:
        lines.append(f"  double total{number}[{count}] = {{}};")
        lines.append(
            f"  {loop} for (int j = 0; j < {count}; j++) total{number}[j] += totals{number}[{count} * block + j];"
        )
    return lines


def _known(node: Expression, scalars: ScalarNames) -> bool:
    return node not in scalars.names


def _body(
    nodes: Sequence[Expression], one: Loop, scalars: ScalarNames, formats: dict[int, StateFormat]
) -> tuple[dict[Expression, str], list[str]]:
    """The name of each element, and the lines that compute them."""
    names: dict[Expression, str] = {}
    lines = []
    for node in nodes:
        name = names[node] = f"e{len(names)}"
        tensor = one.tensor_of(node)
        coded = next((i for i in formats if tensor == f"buffer{i}"), None)
        if coded is not None:
            text = value_read(coded)
        elif tensor:
            text = f"W(widened({tensor}[i]))"
        else:
            text = _call(node, [names[p] if p.is_element else scalars.beside_elements(p) for p in node.parts])
        lines.append(f"const {'bool' if node.is_condition else 'W'} {name} = {text};")
    return names, lines


def _write(i: int, place: int, dtype: str, value: str) -> str:
    if dtype != "bfloat16":
        return f"put(buffer{i}[i], {value});"
    return f"put_rounded(buffer{i}[i], {value}, {_word(place)});"


def _word(place: int) -> str:
    """The noise of an element for the buffer of this number."""
    return f"word * {odd_of(place)}u"


def _value(node: Expression, values: dict[Expression, str]) -> str:
    return f"W({_number(node)})" if node.op == "constant" else values[node]


def _call(node: Expression, parts: Sequence[str]) -> str:
    return operation(node.op).cpp.format(*parts)


def _number(node: Expression) -> str:
    value = node.parts[0]
    return {"inf": "INFINITY", "-inf": "-INFINITY", "nan": "NAN"}.get(str(value), repr(value))


def _driver(number: int, width: int, kept: int) -> str:
    """The function that is called: small layers one on each thread, large ones on all."""
    large = f"(n <= {SCRATCH} ? keeping : lean)(row, aside, threads)" if kept else "keeping(row, aside, threads)"
    return f"""\
extern "C" void step{number}(const int64_t* table, int64_t count, int64_t threads, void* room) {{
  W* aside = (W*)room;
  if (threads > 1) {{
    int64_t widest = 0;
    for (int64_t i = 0; i < count; i++) {{
      const int64_t n = table[{width} * i];
      if (n < {SMALL} && n > widest) widest = n;
    }}
    #pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t i = 0; i < count; i++) {{
      const int64_t* row = table + {width} * i;
      if (row[0] < {SMALL}) keeping(row, aside + {kept} * widest * omp_get_thread_num(), 1);
    }}
  }}
  for (int64_t i = 0; i < count; i++) {{
    const int64_t* row = table + {width} * i;
    const int64_t n = row[0];
    if (threads == 1 || n >= {SMALL}) {large};
    if (row[2]) *(int64_t*)row[2] += 1;
  }}
}}
"""
