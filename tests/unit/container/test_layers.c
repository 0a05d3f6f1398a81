/* Images that are directories, one above the other: read-only unless asked, and never changed by who runs in
 * them. */
#include "house.h"

/* An image out of nothing: this machine's programs by mounts, the rest as told. */
static const struct container_mount programs[] = {{"/usr", "/usr", true, NULL},
                                                  {"/bin", "/bin", true, NULL},
                                                  {"/lib", "/lib", true, NULL},
                                                  {"/lib64", "/lib64", true, NULL}};

static char *layer_with(const struct house *house, const char *name, const char *file, const char *content) {
    char *layer = mem_printf("%s/%s", house->dir, name);
    scoped_string char *path = path_join(layer, file), *folder = mem_string(path);
    *strrchr(folder, '/') = '\0';
    assert_ok(dir_make(folder, 0755));
    assert_ok(file_replace(path, span_of(content), 0644));
    return layer;
}

static void create(struct house *house, struct guest *guest, const struct core_function *function,
                   const char *const *layers, size_t count) {
    static uint64_t number;
    *guest = (struct guest){.house = house};
    guest->container = container_create(house->host,
                                        &(struct container_spec){.number = ++number,
                                                                 .function = function,
                                                                 .layers = layers,
                                                                 .layer_count = count,
                                                                 .mounts = programs,
                                                                 .mount_count = COUNT(programs)},
                                        true, &house_events, guest);
}

static void test_the_upper_layer_is_the_one_that_is_seen(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped_string char *low = layer_with(house, "low", "etc/who", "low\n"),
                       *low_too = layer_with(house, "low", "etc/below", "only low\n"),
                       *top = layer_with(house, "top", "etc/who", "top\n");
    scoped(core_function) struct core_function *function = shell_function(
        "seen",
        "cat /etc/who /etc/below; cat /etc/hosts | head -1; echo x > /etc/who; touch /new; touch /tmp/new;"
        "ls -A /tmp /run /var/tmp; ls -A / | tr '\\n' ' '; exit 0");
    const char *const layers[] = {top, low};
    struct guest guest;
    create(house, &guest, function, layers, 2);
    AWAIT(guest, exited);
    assert_string_equal(guest.error, "");
    scoped_string char *said = guest_output(house, "seen");
    assert_string_equal(said, "top\nonly low\n127.0.0.1 localhost seen\n"
                              "/bin/sh: 1: cannot create /etc/who: Read-only file system\n"
                              "touch: cannot touch '/new': Read-only file system\n"
                              "/run:\n\n/tmp:\nnew\n\n/var/tmp:\n"
                              ".catnap bin dev etc lib lib64 proc run sys tmp usr var ");
    container_free(guest.container);
    house_free(house);
}

static void test_what_is_written_is_gone_with_the_container(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped_string char *image = layer_with(house, "image", "etc/who", "image\n"),
                       *who = path_join(image, "etc/who"), *new_file = path_join(image, "new");
    scoped(core_function) struct core_function *function = shell_function(
        "writes", "cat /etc/who; echo changed > /etc/who; touch /new && cat /etc/who; rm -r /etc/who");
    function->writable_rootfs = true;
    const char *const layers[] = {image};
    for (int i = 0; i < 2; i++) {
        struct guest guest;
        create(house, &guest, function, layers, 1);
        AWAIT(guest, exited);
        assert_int_equal(guest.end.exit_code, 0);
        container_free(guest.container);
    }
    scoped_string char *said = guest_output(house, "writes");
    assert_string_equal(said, "image\nchanged\nimage\nchanged");
    scoped_text struct text kept = {0};
    assert_ok(file_read(who, 100, &kept));
    assert_string_equal(kept.data, "image\n");
    assert_false(file_exists(new_file));
    house_free(house);
}

static void test_many_layers(void **unused) {
    NEEDS_ROOT();
    enum { MANY = 120 };
    struct house *house = house_new(NULL);
    const char *layers[MANY];
    for (int i = 0; i < MANY; i++) {
        scoped_string char *name = mem_printf("a-layer-with-a-rather-long-name-%d", i),
                           *file = mem_printf("etc/n%d", i);
        layers[i] = layer_with(house, name, file, "x");
    }
    scoped(core_function) struct core_function *function = shell_function("many", "ls /etc/n* | wc -l");
    struct guest guest;
    create(house, &guest, function, layers, MANY);
    AWAIT(guest, exited);
    assert_string_equal(guest.error, "");
    scoped_string char *said = guest_output(house, "many");
    assert_string_equal(said, "120");
    container_free(guest.container);
    for (int i = 0; i < MANY; i++) free((char *)layers[i]);
    house_free(house);
}

static void test_users_are_those_of_the_image(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped_string char *image = layer_with(house, "image", "etc/passwd",
                                           "root:x:0:0::/root:/bin/sh\nann:x:70:71::/home/ann:/bin/sh\n");
    scoped(core_function) struct core_function *function = shell_function("user", "id -u; id -g; echo $HOME");
    function->user = mem_string("ann");
    const char *const layers[] = {image};
    struct guest guest;
    create(house, &guest, function, layers, 1);
    AWAIT(guest, exited);
    scoped_string char *said = guest_output(house, "user");
    assert_string_equal(said, "70\n71\n/home/ann");
    container_free(guest.container);
    house_free(house);
}

static void fails(struct house *house, const char *layer, const char *text) {
    scoped(core_function) struct core_function *function = shell_function("fails", "true");
    const char *const layers[] = {layer};
    struct guest guest;
    create(house, &guest, function, layers, 1);
    AWAIT(guest, exited);
    if (!strstr(guest.error, text)) fail_msg("'%s' instead of '%s'", guest.error, text);
    container_free(guest.container);
}

static void test_an_image_that_is_none_is_told_as_such(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped_string char *image = layer_with(house, "image", "etc/who", "x"),
                       *file = path_join(image, "etc/who");
    fails(house, "/no/such/image", "layer /no/such/image: No such file or directory");
    fails(house, file, "etc/who: it is not a directory");
    house_free(house);
}

/* What an image brings may be made to trick us: its links lead nowhere but into itself. */
static void test_an_image_cannot_reach_out(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped_string char *image = layer_with(house, "image", "etc/who", "x"),
                       *link = path_join(image, ".catnap"), *outside = path_join(house->dir, "outside"),
                       *inside = path_join(outside, "init"), *data = path_join(image, "data");
    assert_ok(dir_make(outside, 0755));
    assert_int_equal(symlink(outside, link), 0);
    fails(house, image, "at /.catnap");
    assert_false(file_exists(inside));
    assert_int_equal(unlink(link), 0);

    assert_int_equal(symlink(outside, data), 0); /* a volume's place */
    scoped(core_function) struct core_function *function = shell_function("volume", "ls /data");
    const char *const layers[] = {image};
    struct container_mount mounts[COUNT(programs) + 1];
    memcpy(mounts, programs, sizeof programs);
    mounts[COUNT(programs)] = (struct container_mount){.source = image, .destination = "/data/x"};
    struct guest guest = {.house = house};
    guest.container = container_create(house->host,
                                       &(struct container_spec){.number = 1000,
                                                                .function = function,
                                                                .layers = layers,
                                                                .layer_count = 1,
                                                                .mounts = mounts,
                                                                .mount_count = COUNT(mounts)},
                                       true, &house_events, &guest);
    AWAIT(guest, exited);
    assert_int_equal(rmdir(outside), 0); /* still empty */
    container_free(guest.container);
    house_free(house);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_upper_layer_is_the_one_that_is_seen),
        cmocka_unit_test(test_what_is_written_is_gone_with_the_container),
        cmocka_unit_test(test_many_layers),
        cmocka_unit_test(test_users_are_those_of_the_image),
        cmocka_unit_test(test_an_image_that_is_none_is_told_as_such),
        cmocka_unit_test(test_an_image_cannot_reach_out),
    };
    return cmocka_run_group_tests_name("container layers", tests, NULL, NULL);
}
