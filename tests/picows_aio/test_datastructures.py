"""Headers: a case-insensitive multi-map, by a model of it and by comparison with the one users know."""

import copy
import pickle
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from multidict import CIMultiDict

from picows_aio.datastructures import Headers, MultipleValuesError
from picows_aio.exceptions import InvalidHeaderValue

# Few names, so that they meet; both cases, so that they differ.
NAMES = st.sampled_from(["A", "a", "B", "b", "X-Long-Name", "x-long-name", "!#$%&'*+-.^_`|~0"])
VALUES = st.text("\t " + string.printable[:94] + "\x80\xe9\xff", max_size=5)
PAIRS = st.lists(st.tuples(NAMES, VALUES), max_size=6)


class HeadersAgainstModel(RuleBasedStateMachine):
    """The model is the list of pairs; everything else follows from it."""

    @initialize(pairs=PAIRS)
    def start(self, pairs):
        self.model = list(pairs)
        self.headers = Headers(pairs)

    def values(self, name):
        return [value for other, value in self.model if other.lower() == name.lower()]

    def remove(self, name):
        self.model = [pair for pair in self.model if pair[0].lower() != name.lower()]

    def expect(self, name, function):
        """What one value of a header is: the value, or KeyError, or MultipleValuesError."""
        values = self.values(name)
        if len(values) == 1:
            assert function() == values[0]
            return True
        with pytest.raises(MultipleValuesError if values else KeyError) as caught:
            function()
        assert caught.value.args == (name,)
        return False

    @rule(name=NAMES, value=VALUES)
    def set_adds(self, name, value):
        self.headers[name] = value
        self.model.append((name, value))

    @rule(name=NAMES, value=st.text(max_size=3))
    def set_insecure_adds(self, name, value):
        self.headers.set_insecure(name, value)
        self.model.append((name, value))

    @rule(name=NAMES, value=VALUES, bad=st.sampled_from("\r\n\0\x1f\x7f\u0100"))
    def set_refuses_bad_values(self, name, value, bad):
        with pytest.raises(InvalidHeaderValue) as caught:
            self.headers[name] = value + bad
        assert (caught.value.name, caught.value.value) == (name, value + bad)

    @rule(name=NAMES)
    def get_gives_the_one_value(self, name):
        self.expect(name, lambda: self.headers[name])

    @rule(name=NAMES)
    def delete_removes_all(self, name):
        if self.values(name):
            del self.headers[name]
            self.remove(name)
        else:
            with pytest.raises(KeyError):
                del self.headers[name]

    @rule(name=NAMES)
    def pop_removes_the_one_value(self, name):
        if self.expect(name, lambda: self.headers.pop(name)):
            self.remove(name)

    @rule(name=NAMES, value=VALUES)
    def setdefault_adds_what_is_missing(self, name, value):
        if not self.values(name):
            self.model.append((name, value))
        self.expect(name, lambda: self.headers.setdefault(name, value))

    @rule(pairs=PAIRS, form=st.sampled_from([list, iter, Headers, CIMultiDict]))
    def update_adds_pairs(self, pairs, form):
        self.headers.update(form(pairs))
        self.model += pairs

    @rule(mapping=st.dictionaries(NAMES, VALUES, max_size=3))
    def update_adds_a_mapping(self, mapping):
        self.headers.update(mapping)
        self.model += mapping.items()

    @rule()
    def clear_removes_everything(self):
        self.headers.clear()
        self.model = []

    @rule(how=st.sampled_from([Headers.copy, copy.copy, copy.deepcopy, lambda h: pickle.loads(pickle.dumps(h))]))
    def a_copy_is_equal_and_independent(self, how):
        copied = how(self.headers)
        assert type(copied) is Headers
        assert copied == self.headers
        self.headers["only-here"] = "1"
        assert "only-here" not in copied
        self.headers = copied

    @invariant()
    def looks_like_the_model(self):
        names = list(dict.fromkeys(name.lower() for name, _ in self.model))
        assert list(self.headers.raw_items()) == self.model
        assert list(self.headers) == list(self.headers.keys()) == names
        assert len(self.headers) == len(names)
        assert {name: self.headers.get_all(name.upper()) for name in names} == {n: self.values(n) for n in names}
        assert all(name.upper() in self.headers for name in names)
        assert str(self.headers) == "".join(f"{name}: {value}\r\n" for name, value in self.model) + "\r\n"
        assert self.headers == Headers.wrap(CIMultiDict((name.upper(), value) for name, value in self.model))


TestHeadersAgainstModel = HeadersAgainstModel.TestCase
TestHeadersAgainstModel.settings = settings(max_examples=100, stateful_step_count=20)


@st.composite
def operations(draw):
    name, value = repr(draw(NAMES)), repr(draw(VALUES))
    pairs = repr(draw(PAIRS))
    return draw(
        st.sampled_from(
            [
                f"h.__setitem__({name}, {value})",
                f"h.set_insecure({name}, {value})",
                f"h.__delitem__({name}.lower())",
                f"h.pop({name}, None)",
                f"h.pop({name}.lower())",
                "h.popitem()",
                f"h.get({name})",
                f"h[{name}.lower()]",
                f"h.get_all({name})",
                f"{name} in h",
                f"h.setdefault({name}, {value})",
                f"h.update({pairs})",
                f"h.update(Headers({pairs}))",
                f"h.update(dict({pairs}), key={value})",
                "(h := h.copy())",
                f"h == Headers({pairs})",
                "h == Headers(reversed(list(h.raw_items())))",
                "list(h.items())",
                "list(h.values())",
                "h.clear()",
            ]
        )
    )


@given(steps=st.lists(operations(), max_size=12))
def test_headers_do_what_those_of_websockets_do(compare, steps):
    look = ["h", "len(h)", "list(h)", "str(h)", "h.serialize()"]
    compare("(h := Headers())", *(expression for step in steps for expression in (step, *look)))


@pytest.mark.parametrize(
    "expression",
    [
        "Headers()",
        "bool(Headers())",
        "Headers({'A': '1'}, B='2')",
        "Headers(A='1', a='2')",
        "Headers(Headers(A='1'))",
        "Headers([('a', 'é\\xff')]).serialize()",
        "Headers(['ab'])",
        "Headers(type('K', (), {'keys': lambda s: ['x', 'y'], '__getitem__': lambda s, k: 'v' + k})())",
        "Headers([('A', '1')]) == {'a': '1'}",
        "Headers([('A', '1')]) == [('A', '1')]",
        "Headers([('A', '1'), ('a', '2')]) == Headers([('a', '2'), ('a', '1')])",
        "Headers([('A', '1'), ('B', '2')]) == Headers([('b', '2'), ('a', '1')])",
        "1 in Headers()",
        "None in Headers()",
        "hash(Headers())",
        "Headers(None)",
        "Headers([('x',)])",
        "Headers([('a', 'x\\r\\ny')])",
        "Headers({'a': 5}).serialize()",
        "MultipleValuesError('k')",
        "str(MultipleValuesError('k'))",
        "issubclass(MultipleValuesError, LookupError)",
        "issubclass(MultipleValuesError, KeyError)",
        "reversed(Headers())",
        "Headers().items()",
        "vars(Headers())",
    ],
)
def test_details(compare, expression):
    compare(expression)


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\n", "é", "a\0"])
def test_a_name_must_be_a_token(name):
    """RFC 9110 section 5.1."""
    headers = Headers()
    with pytest.raises(ValueError, match="is not a header name"):
        headers[name] = "x"
    assert not headers


@pytest.mark.parametrize("value", [None, b"x", ["x"]])
def test_a_value_that_is_no_text_is_refused(value):
    with pytest.raises(TypeError, match=r"value of header X must be a str, not (NoneType|bytes|list)"):
        Headers([("X", value)])


def test_a_number_is_written_as_text():
    assert Headers({"X-Limit": 5})["x-limit"] == "5"


@pytest.mark.parametrize("name", [1, None, b"a"])
def test_a_name_that_is_no_text_is_refused(name):
    headers = Headers()
    with pytest.raises(TypeError):
        headers[name] = "x"
    with pytest.raises(TypeError):
        headers[name]
    with pytest.raises(TypeError):
        headers.get_all(name)


def test_only_one_source_at_a_time():
    with pytest.raises(TypeError, match="one mapping or iterable"):
        Headers({}, {})


def test_headers_without_a_copy():
    fields = CIMultiDict([("A", "1")])
    headers = Headers.wrap(fields)
    headers["B"] = "2"
    fields.add("b", "3")
    assert headers.get_all("B") == ["2", "3"]
    assert fields.getall("b") == ["2", "3"]


def test_a_subclass_copies_to_itself():
    class Special(Headers):
        __slots__ = ()

    assert type(Special(a="1").copy()) is Special
    assert repr(Special(a="1")) == "Special([('a', '1')])"
