"""Templates: what they may do, what they may not, and how what is not defined is told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.contracts.processing.reading.rendering import RenderError, origin, render

ENV = {"HOME": "/home/a", "EMPTY": "", "QUOTED": 'a "b" \\ <c>'}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("no template", "no template"),
        ('{"a": "{ { %"}', '{"a": "{ { %"}'),
        ("{{ env.HOME }}/x\n", "/home/a/x\n"),
        ("{{ env['HOME'] }}", "/home/a"),
        ("{{ env.get('NOT', 'other') }}", "other"),
        ("{{ env.NOT | default('other') }}", "other"),
        ("{{ env.NOT is defined }}", "False"),
        ("{{ env.EMPTY | default('other', true) }}", "other"),
        ("{% if env.HOME == '/home/a' %}yes{% else %}no{% endif %}", "yes"),
        ("{# a comment #}x", "x"),
        ("{% for i in range(3) %}{{ i }}{% endfor %}", "012"),
        ("{{ custom.WHO }}", "me"),
    ],
)
def test_what_templates_do(text: str, rendered: str) -> None:
    assert render(text, ENV, {"WHO": "me"}) == rendered


def test_a_value_with_quotes_is_written_by_tojson() -> None:
    assert json.loads(render("{{ env.QUOTED | tojson }}", ENV)) == ENV["QUOTED"]


@pytest.mark.parametrize(
    "expression",
    [
        "env.NOT",
        "env['NOT']",
        "env.NOT | upper",
        "env.NOT | int",
        "env.NOT | float",
        "env.NOT | round",
        "env.NOT | abs",
        "env.NOT | tojson",
        "[env.NOT] | tojson",
        "env.NOT | length",
        "env.NOT | list",
        "env.NOT ~ 'x'",
        "env.NOT + 'x'",
        "env.NOT == 'x'",
        "env.NOT in ['x']",
        "env.NOT or 'x'",
        "env.NOT.more",
        "env.NOT['more']",
        "env.NOT()",
        "[env.NOT]",
        "{'a': env.NOT}",
        "'%s' | format(env.NOT)",
        "'{}'.format(env.NOT)",
        "[env.NOT] | join",
    ],
)
def test_a_variable_that_is_not_set_is_named_with_its_line(expression: str) -> None:
    with pytest.raises(RenderError, match="the environment variable NOT is not set") as caught:
        render(f"one\n\n{{{{ {expression} }}}}\n", ENV)
    assert caught.value.line == 3
    assert "env.NOT | default" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "says", "line"),
    [
        ("{{ home }}", "'home' is not defined", 1),
        ("\n{% for x in things %}{% endfor %}", "'things' is not defined", 2),
        ("\n\n{% if env.NOT %}{% endif %}", "variable NOT is not set", 3),
        ("{{ custom.WHO }}", r"custom\.WHO is not given", 1),
        ("{{ env.HOME.NOT }}", "a text has no 'NOT'", 1),
        ("a\n{{ env.HOME", "not a valid template", 2),
        ("a\n{% if %}", "not a valid template", 2),
        ("{{ env.HOME | nothing }}", "No filter named 'nothing'", 1),
        ("{{ 1 / 0 }}", "division by zero", 1),
        ("{% include '/etc/passwd' %}", "can't be rendered", 1),
        ("{{ range(10 ** 9) }}", "Range too big", 1),
    ],
)
def test_what_can_not_be_rendered(text: str, says: str, line: int) -> None:
    with pytest.raises(RenderError, match=says) as caught:
        render(text, ENV)
    assert caught.value.line == line


ESCAPES = [
    "''.__class__.__mro__[1].__subclasses__()",
    "().__class__.__base__.__subclasses__()",
    "env.__class__.__init__.__globals__",
    "env['__class__']",
    "env | attr('__class__')",
    "env | attr('__cl' ~ 'ass__')",
    "[env] | map(attribute='__class__') | list",
    "[''] | groupby('__class__') | list",
    "[''] | map(attribute='__class__.__mro__') | list",
    "[''] | sum(attribute='__class__')",
    "lipsum.__globals__['os'].popen('id').read()",
    "lipsum.__globals__.__builtins__.__import__('os').system('id')",
    "cycler.__init__.__globals__.os.popen('id').read()",
    "joiner.__init__.__globals__.os.popen('id').read()",
    "namespace.__init__.__globals__.os.popen('id').read()",
    "self.__init__.__globals__",
    "self._TemplateReference__context.environment",
    "range.__self__",
    "env.get.__self__",
    "env.get.__func__",
    "(1).__class__",
    "'{0.__class__.__mro__}'.format('')",
    "'{a.__class__}'.format_map({'a': ''})",
    "'{0.__class__}' | format('')",
    "(''.format)('{0.__class__}')",
    "('{0.__class__}'.format | attr('__self__'))",
    "''.join.__class__",
    "dict.__subclasses__()",
    "dict.mro()",
    "env.NOT.__class__",
    "env.NOT.__init__.__globals__",
    "nothing.__class__.__init__.__globals__",
    "config.__class__",
    "request.application.__globals__",
    "url_for.__globals__",
    "get_flashed_messages.__globals__",
    "env.update({'A': 'b'})",
    "env.clear()",
    "env.setdefault('A', 'b')",
    "env.pop('HOME')",
    "[].append(1)",
    "(lambda: 1)()",
    "__import__('os')",
    "open('/etc/passwd').read()",
    "cycler('a').next.__func__.__globals__",
    "(cycler('a') | attr('next') | attr('__globals__'))",
    "(joiner() | attr('__init__') | attr('__globals__'))",
    "({}.items() | list).__class__.__base__",
    "env | xmlattr | attr('__class__')",
    "'' | string | attr('__html__') | attr('__globals__')",
]
"""Ways out of Jinja that are, or were once, passed around."""
INNARDS = re.compile(
    r"<class|<function|<built-in|<module|<slot|<bound|root:|uid=|__globals__|environment\."
)


@pytest.mark.parametrize("expression", ESCAPES)
def test_no_way_leads_out_of_a_template(expression: str) -> None:
    try:
        rendered = render(f"{{{{ {expression} }}}}", ENV)
    except RenderError:
        return
    assert not INNARDS.search(rendered), rendered


@pytest.mark.parametrize("statement", ["include", "import", "extends", "from"])
def test_no_other_file_is_read(statement: str, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("secret")
    tail = {"import": " as x", "from": " import x"}.get(statement, "")
    with pytest.raises(RenderError) as caught:
        render(f"{{% {statement} '{tmp_path}/other'{tail} %}}", ENV)
    assert "secret" not in caught.value.message


def test_nothing_of_the_environment_is_changed() -> None:
    mine = {"A": "a"}
    for text in ("{% set env = {} %}x", "{% do 1 %}", "{{ env.update({'A': 'b'}) }}"):
        try:
            render(text, mine)
        except RenderError:
            continue
    assert mine == {"A": "a"}
    assert render("{{ env.A }}", mine) == "a", "nor what the next template finds"


@given(st.text("{%# }a.|\"'\n", max_size=30))
def test_any_text_is_rendered_or_refused(text: str) -> None:
    try:
        render(text, ENV)
    except RenderError as error:
        assert 0 <= error.line <= text.count("\n") + 1


@pytest.mark.parametrize(
    ("text", "line", "column", "found"),
    [
        ('{"a": 1}', 1, 7, (1, 7)),
        ('{"a": "{{ env.HOME }}", "b": 1}', 1, 7, (1, 7)),  # before the expression's end
        ('{"a": "{{ env.HOME }}", "b": 1}', 1, 23, (1, 30)),  # the 1 after it
        ('{"a": "{{ env.HOME }}", "b": 1}', 1, 10, (1, 8)),  # within what it became
        ('[\n{{ env.HOME }},\n 3]', 3, 2, (3, 2)),
        ("{% if true %}\n[\n{% endif %}\n{{ env.HOME }}]", 2, 1, (2, 1)),
    ],
)  # fmt: skip
def test_a_place_in_the_rendered_text_is_found_in_the_file(
    text: str, line: int, column: int, found: tuple[int, int]
) -> None:
    assert origin(text, render(text, ENV), line, column) == found


def test_nobody_knows_a_line_where_lines_came_or_went() -> None:
    text = "[{% for i in range(2) %}\n1,{% endfor %}\n2]"
    assert origin(text, render(text, ENV), 3, 1) == (0, 0)


def test_carriage_returns_move_nothing() -> None:
    text = '{\r\n"a": "{{ env.HOME }}",\r\n"b": 1}\r\n'
    rendered = render(text, ENV)
    assert origin(text, rendered, 3, 6) == (3, 6)
    assert origin(text, rendered, 2, 7) == (2, 7)
