import importlib
import json
import pkgutil

import giving
import pytest
from giving.common.v1.event_pb2 import Event
from giving.donation.v1.campaign_service_pb2 import CreateCampaignRequest
from giving.donation.v1.donation_service_pb2 import CreateDonationRequest, ListDonationsRequest
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.convert import Readers, Violations, Writers, parse, to_json
from mesh.errors import MalformedRequest

READERS = Readers()
WRITERS = Writers()
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20)


def message_classes():
    for module in pkgutil.walk_packages(giving.__path__, "giving."):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(module.name).DESCRIPTOR
            yield from (message_factory.GetMessageClass(descriptor) for descriptor in file.message_types_by_name.values())


def values_of(field):
    """Values that a field may hold."""
    if field.cpp_type in _RANGES:
        return st.integers(*_RANGES[field.cpp_type])
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.message_type is not None:
        return messages_of(field.message_type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=20)
    return st.booleans() if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL else _TEXTS


def messages_of(descriptor):
    if descriptor.full_name == "google.protobuf.Timestamp":
        seconds = st.integers(-62135596800, 253402300799)
        return st.builds(Timestamp, seconds=seconds, nanos=st.integers(0, 999_999_999))
    if descriptor.full_name == "google.protobuf.Duration":
        return st.builds(Duration, seconds=st.integers(0, 10**9), nanos=st.integers(0, 999_999_999))
    fields = {field.name: some_of(field) for field in descriptor.fields}
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: message_factory.GetMessageClass(descriptor)(**given))


def some_of(field):
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        return st.dictionaries(values_of(entry.fields_by_name["key"]), values_of(entry.fields_by_name["value"]), max_size=3)
    return st.lists(values_of(field), max_size=2) if field.is_repeated else values_of(field)


MESSAGES = st.sampled_from(list(message_classes())).flatmap(lambda made: messages_of(made.DESCRIPTOR))


def read(text, message_class=CreateDonationRequest):
    violations = Violations()
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    message = READERS.of(message_class.DESCRIPTOR)(parse(raw), "", violations)
    return message, violations.found


@pytest.mark.requirement("WEB-1")
@settings(max_examples=300, deadline=None)
@given(MESSAGES)
def test_every_message_of_the_contract_survives_the_way_to_json_and_back(message):
    text = WRITERS.render(message)
    again, violations = read(text, type(message))
    assert violations == []
    assert again == message


@pytest.mark.requirement("WEB-1")
@settings(max_examples=200, deadline=None)
@given(MESSAGES)
def test_what_is_written_is_what_protobufs_own_writer_writes(message):
    theirs = json_format.MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    assert json.loads(WRITERS.render(message)) == theirs


AMOUNT = '{"amount": {"minor_units": %s, "currency": "USD"}}'
HOSTILE = [
    (AMOUNT % "1e400", "amount.minor_units"),
    (AMOUNT % "NaN", "amount.minor_units"),
    (AMOUNT % "-Infinity", "amount.minor_units"),
    (AMOUNT % "10.0", "amount.minor_units"),
    (AMOUNT % "10.5", "amount.minor_units"),
    (AMOUNT % "1e3", "amount.minor_units"),
    (AMOUNT % "true", "amount.minor_units"),
    (AMOUNT % "null", "amount.minor_units"),
    (AMOUNT % '"010"', "amount.minor_units"),
    (AMOUNT % '"-0"', "amount.minor_units"),
    (AMOUNT % '"+1"', "amount.minor_units"),
    (AMOUNT % '" 1"', "amount.minor_units"),
    (AMOUNT % '"1_000"', "amount.minor_units"),
    (AMOUNT % '"१२"', "amount.minor_units"),
    (AMOUNT % '""', "amount.minor_units"),
    (AMOUNT % "9223372036854775808", "amount.minor_units"),
    (AMOUNT % '"-9223372036854775809"', "amount.minor_units"),
    (AMOUNT % ("9" * 5000), "amount.minor_units"),
    (AMOUNT % "[1]", "amount.minor_units"),
    ('{"amount": null}', "amount"),
    ('{"amount": []}', "amount"),
    ('{"amount": "5 USD"}', "amount"),
    ('{"amount": {}, "amount": {}}', "amount"),
    ('{"amount": {"currency": "USD", "currency": "EUR"}}', "amount.currency"),
    ('{"amount": {"minorUnits": 5}}', "amount.minorUnits"),
    ('{"colour": 1}', "colour"),
    ('{"\\u00fcber": 1}', "\\xfcber"),
    ('{"\\ud800": 1}', "\\ud800"),
    ('{"donor_name": "a\\u0000b"}', "donor_name"),
    ('{"donor_name": "a\\r\\nBcc: x"}', "donor_name"),
    ('{"donor_name": "\\ud83d"}', "donor_name"),
    ('{"donor_name": 5}', "donor_name"),
    ('{"donor_name": ["x"]}', "donor_name"),
    ('{"cover_fee": 1}', "cover_fee"),
    ('{"cover_fee": "true"}', "cover_fee"),
    ('{"metadata": {"a": 1}}', 'metadata["a"]'),
    ('{"metadata": {"a": "x", "a": "y"}}', 'metadata["a"]'),
    ('{"metadata": {"a\\u0007": "x"}}', 'metadata["a\\x07"]'),
    ('{"metadata": []}', "metadata"),
]


@pytest.mark.requirement("SEC-6", "WEB-1")
@pytest.mark.parametrize(("text", "field"), HOSTILE)
def test_a_hostile_value_is_refused_by_the_path_of_its_field(text, field):
    message, violations = read(text)
    assert message is None
    assert [violation.field for violation in violations] == [field]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"currency_rules": [{"currency": "USD"}, {"currency": 5}]}', "currency_rules[1].currency"),
        ('{"currency_rules": {"currency": "USD"}}', "currency_rules"),
        ('{"currency_rules": [null]}', "currency_rules[0]"),
        ('{"start_time": "2026-02-30T00:00:00Z"}', "start_time"),
        ('{"start_time": "2026-05-01T00:00:00"}', "start_time"),
        ('{"start_time": "2026-05-01 00:00:00Z"}', "start_time"),
        ('{"start_time": "2026-05-01T24:00:00Z"}', "start_time"),
        ('{"start_time": "2026-05-01T00:00:00.1234567890Z"}', "start_time"),
        ('{"start_time": "0001-01-01T00:00:00+23:00"}', "start_time"),
        ('{"start_time": 1700000000}', "start_time"),
        ('{"start_time": {"seconds": 5}}', "start_time"),
    ],
)
def test_a_mistake_inside_of_lists_and_times_is_named(text, field):
    _, violations = read(text, CreateCampaignRequest)
    assert [violation.field for violation in violations] == [field]


@pytest.mark.parametrize("text", ['{"id": "a"}', '{"id": "_-_-"}', '{"id": "é"}', '{"id": 5}', '{"id": "YWJj\\n"}'])
def test_bytes_that_are_no_standard_base64_are_refused(text):
    _, violations = read(text, Event)
    assert [violation.field for violation in violations] == ["id"]


def test_all_mistakes_of_a_body_are_found_in_one_pass():
    _, violations = read('{"amount": {"minor_units": "x", "currency": 5}, "cover_fee": 0, "colour": 1}')
    assert [violation.field for violation in violations] == [
        "amount.minor_units",
        "amount.currency",
        "cover_fee",
        "colour",
    ]


def test_the_list_of_mistakes_is_bounded():
    _, violations = read(json.dumps({f"f{number}": 1 for number in range(1000)}))
    assert len(violations) == 50


@pytest.mark.requirement("SEC-6")
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"{}{}",
        b"\xff\xfe{}",
        b'{"donor_name": "\xed\xa0\x80"}',
        b'{"donor_name": "a\x00b"}',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"amount":' * 1000 + b"1" + b"}" * 1000,
        b"'single'",
        b"{a: 1}",
        b"01",
    ],
)
def test_what_is_no_json_is_malformed(raw):
    with pytest.raises(MalformedRequest):
        parse(raw)


@pytest.mark.requirement("SEC-6")
def test_brackets_inside_of_strings_do_not_count_as_depth():
    message, violations = read(json.dumps({"message": '\\"[{' * 60}))
    assert violations == []
    assert message.message == '\\"[{' * 60


@pytest.mark.requirement("SEC-6")
@pytest.mark.parametrize("raw", [b"{" * 40 + b'\\"' * 500_000, b'["' + b"[" * 40 + b'\\"' * 500_000])
def test_unterminated_strings_are_scanned_once(raw):
    # Sizes at which a scan that starts over at each quote would not end today.
    with pytest.raises(MalformedRequest):
        parse(raw)


def test_a_32_bit_field_refuses_what_would_wrap():
    _, violations = read('{"page_size": 4294967303}', ListDonationsRequest)
    assert [violation.field for violation in violations] == ["page_size"]


def test_an_amount_above_a_doubles_precision_stays_exact():
    message, _ = read(AMOUNT % '"9007199254740993"')
    assert message.amount.minor_units == 9007199254740993
    assert json.loads(WRITERS.render(message))["amount"]["minor_units"] == "9007199254740993"


def test_an_explicit_zero_is_present():
    message, _ = read(AMOUNT % "0")
    assert message.amount.HasField("minor_units")


def _laboratory():
    """A message with what the contract does not use yet: oneofs, enums in maps, doubles, durations."""
    file = descriptor_pb2.FileDescriptorProto(name="laboratory.proto", package="laboratory", syntax="proto3")
    file.dependency.append("google/protobuf/duration.proto")
    message = file.message_type.add(name="Sample")
    message.oneof_decl.add(name="choice")
    kinds = descriptor_pb2.FieldDescriptorProto
    message.field.add(name="left", number=1, type=kinds.TYPE_STRING, label=1, oneof_index=0)
    message.field.add(name="right", number=2, type=kinds.TYPE_INT64, label=1, oneof_index=0)
    message.field.add(name="ratio", number=3, type=kinds.TYPE_DOUBLE, label=1)
    message.field.add(name="wait", number=4, type=kinds.TYPE_MESSAGE, label=1, type_name=".google.protobuf.Duration")
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("laboratory.Sample"))


SAMPLE = _laboratory()


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"left": "a", "right": 1}', "right"),
        ('{"ratio": NaN}', "ratio"),
        ('{"ratio": 1e400}', "ratio"),
        ('{"ratio": "1.5"}', "ratio"),
        ('{"wait": "3"}', "wait"),
        ('{"wait": "3.s"}', "wait"),
        ('{"wait": "999999999999s"}', "wait"),
    ],
)
def test_oneofs_doubles_and_durations_are_strict(text, field):
    _, violations = read(text, SAMPLE)
    assert [violation.field for violation in violations] == [field]


def test_oneofs_doubles_and_durations_survive_the_way_back():
    message, violations = read('{"right": "0", "ratio": -2.5e3, "wait": "-3.5s"}', SAMPLE)
    assert violations == []
    assert message.WhichOneof("choice") == "right"
    assert (message.wait.seconds, message.wait.nanos) == (-3, -500_000_000)
    assert read(WRITERS.render(message), SAMPLE)[0] == message


def test_types_without_a_form_of_their_own_are_refused_at_start():
    holder = descriptor_pb2.FileDescriptorProto(name="holder.proto", package="laboratory", syntax="proto3")
    holder.dependency.append(any_pb2.DESCRIPTOR.name)
    field = holder.message_type.add(name="Holder").field.add(name="anything", number=1, type=11, label=1)
    field.type_name = ".google.protobuf.Any"
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(holder.SerializeToString())
    with pytest.raises(LookupError, match="Any"):
        READERS.of(pool.FindMessageTypeByName("laboratory.Holder"))


def test_output_is_compact_utf_8():
    assert to_json({"a": "é"}) == '{"a":"é"}'.encode()
