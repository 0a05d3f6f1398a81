/* Those who speak something else. A person who points a browser or curl at this port reads a sentence; a
 * program that is lost is cut off. */
#include "inside.h"

#include <ctype.h>
#include <sys/socket.h>

static void add_answer(struct text *out, const char *status, const char *sentence) {
    text_printf(out,
                "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\n"
                "Connection: close\r\n\r\n%s\n",
                status, strlen(sentence) + 1, sentence);
}

void refuse_other_protocol(struct conn *conn, struct span bytes) {
    if (conn->preface == 0 && !isupper((unsigned char)bytes.data[0])) {
        conn_cut(conn); /* TLS to a port in the clear, or noise: no words would be read */
        return;
    }
    add_answer(line_out(&conn->line), "505 HTTP Version Not Supported",
               "This port speaks gRPC: HTTP/2, by prior knowledge or ALPN, and not HTTP/1.1.");
    conn_linger(conn);
}

/* Under TLS nothing could be sent yet, so the words go past it. */
void refuse_plaintext(struct conn *conn) {
    scoped_text struct text words = {0};
    add_answer(&words, "400 Bad Request", "This port speaks gRPC under TLS (https), and not in the clear.");
    int fd = conn->line.fd;
    char rest[8192]; /* what is left unread would make the close a reset, which overtakes the words */
    while (recv(fd, rest, sizeof rest, MSG_DONTWAIT) == sizeof rest) continue;
    if (send(fd, words.data, words.size, MSG_NOSIGNAL | MSG_DONTWAIT) > 0) shutdown(fd, SHUT_WR);
}
