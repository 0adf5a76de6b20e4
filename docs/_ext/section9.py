"""What this manual adds to Sphinx: names that link themselves, linked clauses, and lists that are read off the code.

* The default role links a name in backquotes to its entry, here or in another project's manual. A name that has no
  entry stays what it is, so that prose may name anything.
* ``TP-25`` and its like link to the list of clauses, wherever they stand.
* ``clauses`` lists the clauses that `conformance9` knows, ``hooks`` the hooks that pluggy knows, ``constants`` the
  values of constants: none of them can go out of date.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any

from docutils import nodes
from docutils.parsers.rst.states import Inliner
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.ext import intersphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode, split_explicit_title

logger = logging.getLogger(__name__)
CLAUSE = re.compile(r"\b(?:TP|TK|WQ|HK|AW)-\d+\b")
#: From the bottom up; one that does not exist is passed over.
MODULES = (
    "threadpool9",
    "threadpool9.lowlevel",
    "threadpool9.hooks",
    "task9",
    "task9.lanes",
    "task9.futures",
    "workqueue9",
)


# --- names


def name_role(
    role: str,
    rawtext: str,
    text: str,
    lineno: int,
    inliner: Inliner,
    options: dict[str, Any] | None = None,
    content: Sequence[str] = (),
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """The default role: a reference if the name has an entry, a literal in any case."""
    env = inliner.document.settings.env
    explicit, title, target = split_explicit_title(text)
    shown = nodes.literal(rawtext, title, classes=["xref"])
    reference = pending_xref(rawtext, shown, refdomain="", reftype="name", reftarget=target, refwarn=explicit)
    reference["py:module"] = env.ref_context.get("py:module")
    reference["py:class"] = env.ref_context.get("py:class")
    return [reference], []


def public_names() -> Iterator[tuple[str, str]]:
    """Where each public object was defined, and the name by which the manual knows it."""
    for module in reversed(MODULES):  # so that the lowest one that has it comes last, and stays
        if importlib.util.find_spec(module) is None:
            continue
        package = importlib.import_module(module)
        for name in package.__all__:
            thing = getattr(package, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield f"{thing.__module__}.{thing.__qualname__}", f"{module}.{name}"


def find_name(env: BuildEnvironment, node: pending_xref) -> str | None:
    """The entry that a name means: in the class or module at hand, in full, or the only one that ends like it."""
    domain = env.get_domain("py")
    assert isinstance(domain, PythonDomain)
    target = node["reftarget"].removesuffix("()")
    target = env.app.section9_public.get(target, target)  # type: ignore[attr-defined]
    module, inside = node.get("py:module"), node.get("py:class")
    for prefix in ((module, inside), (module,), ()):
        full = ".".join([part for part in prefix if part] + [target])
        if full in domain.objects:
            return full
    if "." in target or "_" in target or target != target.lower():  # a bare lower-case word may mean anything
        ends = [name for name, entry in domain.objects.items() if name.endswith(f".{target}") and not entry.aliased]
        return ends[0] if len(ends) == 1 else None
    return None


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.TextElement) -> nodes.Node | None:
    """Called for each reference that Sphinx itself could not resolve."""
    if node["reftype"] != "name" and node.get("refdomain") != "py":
        return None
    if name := find_name(env, node):
        entry = env.get_domain("py").objects[name]  # type: ignore[attr-defined]
        return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, shown, name)
    if node["reftype"] == "name":
        node["refdomain"], node["reftype"] = "py", "obj"
        node["reftarget"] = node["reftarget"].removesuffix("()")
        if node["refwarn"]:
            logger.warning("there is no entry %s", node["reftarget"], location=node)
        return intersphinx.missing_reference(app, env, node, shown) or shown
    return None


# --- clauses


class Clauses(SphinxDirective):
    """A list of clauses as targets of links: those of a layer, or those that the content spells out."""

    optional_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """One definition list."""
        from conformance9.clauses import CLAUSES

        if self.arguments:
            listed = [(name, clause.text) for name, clause in CLAUSES.items() if clause.layer == self.arguments[0]]
        else:
            text = " ".join(line.strip() or "\n" for line in self.content)
            listed = [(name, words) for name, _, words in (line.strip().partition(": ") for line in text.split("\n"))]
        known = self.env.__dict__.setdefault("section9_clauses", {})
        result = nodes.definition_list(classes=["clauses"])
        for name, words in listed:
            term = nodes.term(name, "", nodes.inline("", name, classes=["clause"]), ids=[name.lower()])
            self.state.document.note_explicit_target(term)
            body = nodes.paragraph()
            body += self.parse_inline(words)[0]
            result += nodes.definition_list_item("", term, nodes.definition("", body))
            known[name] = self.env.docname
        return [result]


class LinkClauses(SphinxPostTransform):
    """``TP-25`` becomes a link, except where it is code, a title, or a link already."""

    default_priority = 900
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Once for each page."""
        known: dict[str, str] = getattr(self.env, "section9_clauses", {})
        closed = (nodes.literal, nodes.literal_block, nodes.title, nodes.reference, nodes.target, nodes.term, nodes.raw)
        for text in list(self.document.findall(nodes.Text)):
            parent = text.parent
            while parent is not None and not isinstance(parent, closed):
                parent = parent.parent
            if parent is not None or not CLAUSE.search(text):
                continue
            parts: list[nodes.Node] = []
            rest = 0
            for match in CLAUSE.finditer(text):
                name = match[0]
                if name not in known:
                    logger.warning("there is no clause %s", name, location=text.parent)
                    continue
                parts.append(nodes.Text(text[rest : match.start()]))
                uri = self.app.builder.get_relative_uri(self.env.docname, known[name]) + f"#{name.lower()}"
                parts.append(nodes.reference("", name, refuri=uri, internal=True, classes=["clause"]))
                rest = match.end()
            parts.append(nodes.Text(text[rest:]))
            text.parent.replace(text, parts)


# --- lists that are read off the code


class Hooks(SphinxDirective):
    """The hooks of one layer, ``questions`` or ``probes``, in the order of their source."""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        """An entry for each, with its docstring."""
        import threadpool9

        layer, kind = self.arguments
        importlib.import_module(layer)
        callers = vars(threadpool9.plugin_manager().hook).values()
        functions = [caller.spec.function for caller in callers if caller.name.startswith(f"{layer}_") and caller.spec]
        lines: list[str] = []
        for function in sorted(functions, key=lambda function: function.__code__.co_firstlineno):
            signature = inspect.signature(function)
            if (signature.return_annotation in (None, "None")) != (kind == "probes"):
                continue
            arguments = [parameter for name, parameter in signature.parameters.items() if name != "self"]
            shown = str(signature.replace(parameters=arguments)).replace("'", "")
            lines += [f".. py:function:: {function.__name__}{shown}", ""]
            lines += [f"   {line}".rstrip() for line in (inspect.getdoc(function) or "").splitlines()] + [""]
        return self.parse_text_to_nodes("\n".join(lines))


class Constants(SphinxDirective):
    """Constants of a module with their values; the content is a definition list, names first."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """An entry for each name; the text stands below the last of its line."""
        module = importlib.import_module(self.arguments[0])
        lines: list[str] = []
        for line in self.content:
            if line and not line.startswith(" "):
                for name in line.split():
                    lines += [f".. py:data:: {module.__name__}.{name}", f"   :value: {getattr(module, name)}", ""]
            else:
                lines.append(line)
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.section9_public = dict(public_names())  # type: ignore[attr-defined]
    app.add_role("name", name_role)
    app.add_directive("clauses", Clauses)
    app.add_directive("hooks", Hooks)
    app.add_directive("constants", Constants)
    app.add_post_transform(LinkClauses)
    app.connect("missing-reference", resolve, priority=400)
    return {"parallel_read_safe": False, "parallel_write_safe": True, "version": "1"}
