/* The chat room's own. */
#pragma once
#include "chat.h"
#include "face.h"

struct chat_templates {
    struct face_templates *named; /* NULL: only the model file's own */
    struct face_templates *own;   /* NULL: the file has none */
    const char *const *controls;  /* the vocabulary's; borrowed from the engine */
};

/* ---- plain.c: control words in what users say ---- */
/* Writes a copy of `messages` in which each control word in a text is replaced by a mark. */
must_check json_t *plain_mark(const json_t *messages, const char *const *controls);
/* Cuts a rendered prompt at its marks: template text (control words count) and the words themselves (they
 * don't). Owned by the caller: free_pieces. */
size_t plain_pieces(struct span prompt, const char *const *controls, struct engine_piece **ret_pieces);

/* ---- template.c ---- */
must_check struct error *template_render(const struct chat_templates *templates,
                                         const struct chat_request *request, struct face_prompt *ret_prompt);
