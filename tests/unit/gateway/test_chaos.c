/* Lives of the gateway among clients and apps that do anything at any moment: send in pieces, leave, answer
 * half, answer nonsense, die; while the pool grants and refuses as it likes. Under the sanitizers this finds
 * who touches what is gone. In the end nothing is left: no request, no slot, no connection. */
#include "house.h"

#include <fcntl.h>

enum { CLIENTS = 12, APPS = 24, LIVES = 60, STEPS = 600 };

static const char *const requests[] = {
    "GET /a HTTP/1.1\r\nHost: app.x\r\n\r\n",
    "GET /b HTTP/1.0\r\nHost: app.x\r\n\r\n",
    "HEAD /c HTTP/1.1\r\nHost: app.x\r\n\r\n",
    "POST /d HTTP/1.1\r\nHost: app.x\r\nContent-Length: 10\r\n\r\n0123456789",
    "POST /e HTTP/1.1\r\nHost: app.x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\nX-T: 1\r\n\r\n",
    "POST /f HTTP/1.1\r\nHost: app.x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nnonsense\r\n",
    "PUT /g HTTP/1.1\r\nHost: app.x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody",
    "GET /h HTTP/1.1\r\nHost: app.x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nraw bytes",
    "GET /i HTTP/1.1\r\nHost: app.x\r\n\r\nGET /j HTTP/1.1\r\nHost: app.x\r\n\r\n",
    "GET /k HTTP/1.1\r\nHost: app.x\r\nAccept: text/event-stream\r\nCatnap-Keepalive: comments\r\n\r\n",
    "GET /l HTTP/1.1\r\nHost: nobody.x\r\n\r\n",
    "nonsense\r\n\r\n",
};
static const char *const answers[] = {
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\nuntil the end",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nraw bytes",
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more than was promised",
    "nonsense\r\n\r\n",
};

struct actor {
    int fd; /* -1: not there */
    const char *script;
    size_t said;
};
struct life {
    struct world *world;
    struct io_timer *timer;
    struct actor clients[CLIENTS], apps[APPS];
    uint32_t dice;
};

static uint32_t roll(struct life *life, uint32_t sides) {
    life->dice = life->dice * 1664525 + 1013904223;
    return (life->dice >> 8) % sides;
}

static int setup(void **state) {
    return setup_with(state, (struct gateway_options){.keepalive_ms = 1,
                                                      .limits = {.head_timeout_ms = 200,
                                                                 .idle_timeout_ms = 200,
                                                                 .body_timeout_ms = 200,
                                                                 .write_timeout_ms = 200}});
}

static void turn_once(struct life *life) {
    io_timer_arm(life->timer, 0);
    io_loop_run(life->world->loop);
}

static void leave(struct life *life, struct actor *actor) {
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    if (roll(life, 2)) setsockopt(actor->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(actor->fd);
    *actor = (struct actor){.fd = -1};
}

/* Takes what there is; true: the other side closed. */
static bool listen_to(struct actor *actor) {
    char bytes[4096];
    ssize_t size;
    while ((size = recv(actor->fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) continue;
    return size == 0 || (errno != EAGAIN && errno != EINTR);
}

static void say_more(struct life *life, struct actor *actor) {
    size_t left = strlen(actor->script) - actor->said;
    size_t size = roll(life, 3) ? left : roll(life, (uint32_t)left + 1);
    ssize_t sent =
        size > 0 ? send(actor->fd, actor->script + actor->said, size, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    if (sent > 0) actor->said += (size_t)sent;
}

static void act_client(struct life *life, struct actor *client) {
    if (client->fd < 0) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons(life->world->port),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(client->fd, (struct sockaddr *)&address, sizeof address), 0);
        client->script = requests[roll(life, COUNT(requests))];
        client->said = 0;
        return;
    }
    bool over = listen_to(client);
    uint32_t what = roll(life, 20);
    if (over || what == 0) {
        leave(life, client);
    } else if (what == 1) {
        shutdown(client->fd, SHUT_WR);
    } else if (client->script[client->said]) {
        say_more(life, client);
    } else if (what < 5) { /* another one on the same connection */
        client->script = requests[roll(life, COUNT(requests))];
        client->said = 0;
    }
}

static void act_app(struct life *life, struct actor *app) {
    if (app->fd < 0) {
        app->fd = accept4(life->world->listener, NULL, NULL, SOCK_CLOEXEC);
        app->script = "";
        app->said = 0;
        return;
    }
    bool over = listen_to(app);
    uint32_t what = roll(life, 16);
    if (over || what == 0) {
        leave(life, app);
    } else if (app->script[app->said]) {
        say_more(life, app);
    } else if (what < 8) {
        app->script = answers[roll(life, COUNT(answers))];
        app->said = 0;
    }
}

static void act_pool(struct life *life) {
    uint32_t what = roll(life, 40);
    if (what < 20) {
        fake_pool_wake();
    } else if (what < 26) {
        fake_pool.state = NAP_ASLEEP;
    } else if (what == 26) {
        fake_pool_refuse((enum nap_reason)(1 + roll(life, NAP_REASON_BUSY_GROUP)), "so it is",
                         roll(life, 2) * 500);
    } else if (what < 29) { /* another container, and the next connection finds nobody */
        fake_pool.container++;
        if (roll(life, 2)) fake_pool.refused_port = 1;
    }
}

static void evening(struct life *life) {
    struct gateway_counters counters;
    for (size_t i = 0; i < CLIENTS; i++)
        if (life->clients[i].fd >= 0) leave(life, &life->clients[i]);
    for (size_t i = 0; i < APPS; i++)
        if (life->apps[i].fd >= 0) leave(life, &life->apps[i]);
    for (int i = 0; i < 5000; i++) {
        gateway_counters(life->world->gateway, &counters);
        if (counters.connections + counters.active + counters.kept == 0) break;
        int fd = accept4(life->world->listener, NULL, NULL, SOCK_CLOEXEC); /* one that nobody took yet */
        if (fd >= 0) close(fd);
        io_timer_arm(life->timer, i < 100 ? 0 : 1);
        io_loop_run(life->world->loop);
    }
    assert_int_equal(counters.connections, 0);
    assert_int_equal(counters.active, 0);
    assert_int_equal(counters.kept, 0);
    assert_int_equal(fake_pool_waiting(), 0);
}

static void stop(void *owner) {
    io_loop_stop(owner);
}

static void test_many_lives(void **state) {
    struct world *world = *state;
    struct life life = {.world = world, .timer = io_timer_new(world->loop, stop, world->loop)};
    fcntl(world->listener, F_SETFL, O_NONBLOCK);
    for (size_t i = 0; i < CLIENTS; i++) life.clients[i].fd = -1;
    for (size_t i = 0; i < APPS; i++) life.apps[i].fd = -1;
    for (uint32_t seed = 1; seed <= LIVES; seed++) {
        life.dice = seed * 2654435761u;
        for (int step = 0; step < STEPS; step++) {
            uint32_t who = roll(&life, 10);
            if (who < 5)
                act_client(&life, &life.clients[roll(&life, CLIENTS)]);
            else if (who < 9)
                act_app(&life, &life.apps[roll(&life, APPS)]);
            else
                act_pool(&life);
            turn_once(&life);
        }
        evening(&life);
    }
    io_timer_free(life.timer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_many_lives, setup, teardown),
    };
    return cmocka_run_group_tests_name("gateway chaos", tests, NULL, NULL);
}
