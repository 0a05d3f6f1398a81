/* What needs no socket: messages in pieces of any size, packed ones, what header fields carry, the heap of
 * deadlines. */
#include "codec.h"
#include "due.h"
#include "message.h"
#include "test.h"

static void add_message(struct text *out, int flag, struct span bytes) {
    const char prefix[5] = {(char)flag, (char)(bytes.size >> 24), (char)(bytes.size >> 16),
                            (char)(bytes.size >> 8), (char)bytes.size};
    text_add(out, (struct span){prefix, 5});
    text_add(out, bytes);
}

/* What the reader makes of it when it comes in pieces of `piece` bytes: "[message]...", then "!CODE text"
 * where it is broken or "..." where it ends in the middle. */
static char *read_all(struct span stream, size_t piece, size_t limit, bool gzip) {
    struct message_reader reader = {.limit_bytes = limit, .gzip = gzip};
    struct text said = {0};
    struct error *error = NULL;
    while (stream.size > 0 && !error) {
        struct span now = {stream.data, piece < stream.size ? piece : stream.size}, message;
        stream.data += now.size;
        stream.size -= now.size;
        char *exact =
            mem_string_n(now.data, now.size); /* its own memory, so that a read past the end is seen */
        now.data = exact;
        for (enum message_state state = MESSAGE_WHOLE; state == MESSAGE_WHOLE && now.size > 0;) {
            state = message_take(&reader, &now, &message, &error);
            if (state == MESSAGE_WHOLE) {
                assert_non_null(message.data);
                if (message.size > 40)
                    text_printf(&said, "[%zu]", message.size);
                else
                    text_printf(&said, "[" SPAN_FORMAT "]", SPAN_ARGS(message));
            }
        }
        free(exact);
    }
    if (error)
        text_printf(&said, "!%s %s", error_code_name(error->code), error->message);
    else if (!message_between(&reader))
        text_add_string(&said, "...");
    error_free(error);
    message_done(&reader);
    return text_take(&said);
}

static void expect(struct span stream, size_t limit, bool gzip, const char *wanted) {
    for (size_t piece = 1; piece <= stream.size + 1; piece = piece < 20 ? piece + 1 : piece * 3) {
        scoped_string char *said = read_all(stream, piece, limit, gzip);
        bool equal =
            strchr(wanted, '!') ? strncmp(said, wanted, strlen(wanted)) == 0 : strcmp(said, wanted) == 0;
        if (!equal) fail_msg("in pieces of %zu: '%s' instead of '%s'", piece, said, wanted);
    }
}

static void test_messages_come_out_as_they_went_in(void **unused) {
    (void)unused;
    scoped_text struct text out = {0};
    add_message(&out, 0, SPAN("one"));
    add_message(&out, 0, SPAN(""));
    add_message(&out, 0, SPAN("a longer one, but not by much"));
    expect(text_span(&out), 100, false, "[one][][a longer one, but not by much]");
    expect((struct span){out.data, out.size - 1}, 100, false, "[one][]...");
    expect((struct span){out.data, 10}, 100, false, "[one]...");
}

static void test_packed_messages_are_unpacked(void **unused) {
    (void)unused;
    scoped_text struct text out = {0};
    scoped_string char *many = mem_new(100000); /* so many zeros pack into very little */
    memset(many, 'z', 99999);
    message_add(&out, SPAN("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), true);
    message_add(&out, SPAN("short"), true);
    message_add(&out, span_of(many), true);
    assert_int_equal(out.data[0], 1);
    assert_true(out.size < 1000);
    expect(text_span(&out), 100000, true, "[60][short][99999]");
    expect(text_span(&out), 99999, true, "[60][short][99999]");
    expect(text_span(&out), 99998, true,
           "[60][short]!RESOURCE_EXHAUSTED the message has more than 99998 bytes once unpacked");
    expect(text_span(&out), 100000, false, "!INTERNAL a message says that it is packed, but grpc-encoding");
    scoped_text struct text broken = {0};
    struct span packed = {out.data + 5, (unsigned char)out.data[4]};
    add_message(&broken, 1, (struct span){packed.data, packed.size - 1});
    expect(text_span(&broken), 1000, true, "!INTERNAL the gzip data of the message is cut off");
    text_clear(&broken);
    scoped_text struct text tail = {0};
    text_add(&tail, packed);
    text_add_string(&tail, "x");
    add_message(&broken, 1, text_span(&tail));
    expect(text_span(&broken), 1000, true, "!INTERNAL bytes follow the gzip data");
    tail.data[packed.size - 5] ^= 1; /* of its checksum */
    text_clear(&broken);
    add_message(&broken, 1, (struct span){tail.data, packed.size});
    expect(text_span(&broken), 1000, true, "!INTERNAL the message is no gzip data: incorrect data check");
}

static void test_what_is_no_message_is_told(void **unused) {
    (void)unused;
    scoped_text struct text out = {0};
    add_message(&out, 2, SPAN("x"));
    expect(text_span(&out), 100, true, "!INTERNAL a message begins with the byte 2");
    expect(SPAN("\0\xff\xff\xff\xff"), 104857600, false,
           "!RESOURCE_EXHAUSTED the message has 4294967295 bytes; at most 104857600 are taken");
    expect(SPAN("\1\0\0\0\0"), 100, true, "!INTERNAL the gzip data of the message is cut off");
    expect(SPAN("\1\0\0\0\5noise"), 100, true, "!INTERNAL the message is no gzip data");
}

static void test_time_spans(void **unused) {
    (void)unused;
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {{"1S", 1000},   {"99999999H", 99999999ll * 3600000},
                {"2M", 120000}, {"15m", 15},
                {"1500u", 2},   {"1u", 1},
                {"999999n", 1}, {"0S", 0},
                {"", -1},       {"S", -1},
                {"12", -1},     {"123456789S", -1},
                {"1.5S", -1},   {"-1S", -1},
                {"+1S", -1},    {"1s", -1},
                {" 1S", -1}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t ms = -1;
        bool known = codec_timeout(span_of(rows[i].text), &ms);
        if (known != (rows[i].ms >= 0) || (known && ms != rows[i].ms))
            fail_msg("'%s': %lld", rows[i].text, (long long)ms);
    }
}

static void test_base64_both_ways_and_with_padding_or_without(void **unused) {
    (void)unused;
    for (size_t size = 0; size < 300; size++) {
        scoped_string char *bytes = mem_new(size + 1);
        for (size_t i = 0; i < size; i++) bytes[i] = (char)(i * 37 + size);
        scoped_text struct text encoded = {0}, decoded = {0};
        codec_base64((struct span){bytes, size}, &encoded);
        for (int padding = 0; padding < 2; padding++) {
            text_clear(&decoded);
            assert_true(codec_unbase64(text_span(&encoded), &decoded));
            assert_true(span_equal(text_span(&decoded), (struct span){bytes, size}));
            while (encoded.size % 4) text_add_char(&encoded, '=');
        }
    }
    static const char *const wrong[] = {
        "A", "AA=", "AAA==", "A===", "====", "AA A", "AA-_", "AAAAA", "\xff\xff"};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        scoped_text struct text decoded = {0};
        if (codec_unbase64(span_of(wrong[i]), &decoded)) fail_msg("'%s' was taken", wrong[i]);
    }
}

static void test_texts_are_percent_encoded_and_cut_between_characters(void **unused) {
    (void)unused;
    scoped_text struct text out = {0};
    grpc_percent_encode(SPAN("100% \xc3\xa4\n~"), &out);
    assert_string_equal(out.data, "100%25 %C3%A4%0A~");
    text_clear(&out);
    codec_value(SPAN("100% \xc3\xa4\n~"), &out);
    assert_string_equal(out.data, "100% %C3%A4%0A~");
    static const char *const cuts[] = {"",  "a",       "a",       "a",       "a",         "a",
                                       "a", "a%C3%A4", "a%C3%A4", "a%C3%A4", "a%C3%A4%25"};
    for (size_t limit = 0; limit < COUNT(cuts); limit++) {
        text_clear(&out);
        codec_message(SPAN("a\xc3\xa4%"), limit, &out);
        assert_string_equal(out.data ? out.data : "", cuts[limit]);
    }
}

struct waiter {
    struct due due;
    int *fired;
    int64_t at_ms;
};
static void on_fire(struct due *due) {
    struct waiter *waiter = CONTAINER_OF(due, struct waiter, due);
    assert_int_equal(due->place, 0);
    (*waiter->fired)++;
}

/* Whatever is set, moved and taken away: the first in the heap is the one that is due first. */
static void test_the_first_deadline_is_always_on_top(void **unused) {
    (void)unused;
    struct io_loop *loop = io_loop_new();
    struct dues dues;
    dues_init(&dues, loop);
    struct waiter waiters[100] = {0};
    int fired = 0;
    unsigned dice = 1;
    for (int step = 0; step < 20000; step++) {
        struct waiter *waiter = &waiters[rand_r(&dice) % COUNT(waiters)];
        waiter->due.fire = on_fire;
        waiter->fired = &fired;
        waiter->at_ms =
            rand_r(&dice) % 3 == 0 ? GRPC_NEVER : clock_monotonic_ms() + 1000000 + rand_r(&dice) % 1000;
        due_set(&dues, &waiter->due, waiter->at_ms);
        int64_t first_ms = GRPC_NEVER;
        size_t count = 0;
        for (size_t i = 0; i < COUNT(waiters); i++) {
            count += waiters[i].due.place > 0;
            if (waiters[i].due.place > 0 && waiters[i].at_ms < first_ms) first_ms = waiters[i].at_ms;
        }
        assert_int_equal(dues.count, count);
        if (count > 0) assert_int_equal(dues.heap[1]->at_ms, first_ms);
        for (size_t i = 2; i <= dues.count; i++) assert_true(dues.heap[i / 2]->at_ms <= dues.heap[i]->at_ms);
    }
    for (size_t i = 0; i < COUNT(waiters); i++)
        due_set(&dues, &waiters[i].due, clock_monotonic_ms() + (int)i % 5);
    io_loop_run(loop); /* until the timer has nothing to wait for */
    assert_int_equal(fired, COUNT(waiters));
    due_set(&dues, &waiters[0].due, clock_monotonic_ms());
    dues_done(&dues);
    assert_int_equal(waiters[0].due.place, 0);
    io_loop_free(loop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_come_out_as_they_went_in),
        cmocka_unit_test(test_packed_messages_are_unpacked),
        cmocka_unit_test(test_what_is_no_message_is_told),
        cmocka_unit_test(test_time_spans),
        cmocka_unit_test(test_base64_both_ways_and_with_padding_or_without),
        cmocka_unit_test(test_texts_are_percent_encoded_and_cut_between_characters),
        cmocka_unit_test(test_the_first_deadline_is_always_on_top),
    };
    return cmocka_run_group_tests_name("grpc message", tests, NULL, NULL);
}
