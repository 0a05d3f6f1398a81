/* The prompt: snippets as comments, prefix and suffix in the model's template, cut to what it may cost.
 *
 * `whole` is Tabby's prompt byte for byte, for debug_options. What the engine gets differs in three ways: the
 * template's tokens are never cut away, the suffix is cut at its end, and the prefix keeps lines that the
 * editor's view slid past (window.c). Line ends are "\n" for the model also where the document has "\r\n". */
#include "completion.h"

#include <stdlib.h>

static bool has_crlf(struct span text) {
    return text.size > 1 && memmem(text.data, text.size, "\r\n", 2) != NULL;
}

static void remove_cr(struct text *text) {
    size_t to = 0;
    for (size_t i = 0; i < text->size; i++)
        if (text->data[i] != '\r' || i + 1 == text->size || text->data[i + 1] != '\n')
            text->data[to++] = text->data[i];
    text->size = to;
    if (text->data) text->data[to] = 0;
}

/* {prefix} and {suffix} in a text where {{ and }} are literal braces. */
static struct error *template_parse(const char *template_text, struct prompt *prompt) {
    size_t part = 0;
    bool prefix_seen = false;
    for (const char *at = template_text; *at;) {
        bool is_prefix = strncmp(at, "{prefix}", 8) == 0, is_suffix = strncmp(at, "{suffix}", 8) == 0;
        if (is_prefix || is_suffix) {
            if (part == 2)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "prompt template has more than one {prefix} and one {suffix}");
            if (is_suffix && !prefix_seen) prompt->suffix_first = true;
            prefix_seen |= is_prefix;
            part++;
            at += 8;
        } else {
            if (((at[0] == '{' && at[1] == '{') || (at[0] == '}' && at[1] == '}'))) at++;
            text_add_char(&prompt->parts[part], *at++);
        }
    }
    if (!prefix_seen) return error_new(ERROR_INVALID_ARGUMENT, "prompt template has no {prefix}");
    if (part == 1) text_add(&prompt->parts[2], text_span(&prompt->parts[1])), text_clear(&prompt->parts[1]);
    prompt->has_template = part == 2;
    return NULL;
}

struct error *template_check(const char *template_text) {
    struct prompt prompt = {0};
    struct error *error = template_parse(template_text, &prompt);
    prompt_done(&prompt);
    return error;
}

/* Returns what is left of the budget. */
static size_t choose_snippets(const struct completion_request *request, struct prompt *prompt) {
    size_t at = 0, budget = PROMPT_SNIPPET_BYTES;
    for (size_t list = 0; list < COUNT(request->list_counts); list++) {
        size_t end = at + request->list_counts[list];
        for (size_t i = at; i < end && request->snippets[i].body.size <= budget; i++) {
            prompt->snippets[prompt->snippet_count++] = &request->snippets[i];
            budget -= request->snippets[i].body.size;
        }
        at = end;
    }
    return budget;
}

static void add_found(const struct completion_request *request, size_t budget, struct prompt *prompt) {
    if (budget <= PROMPT_FOUND_BYTES) return;
    for (size_t i = 0; i < request->found_count && request->found[i].body.size <= budget; i++) {
        prompt->snippets[prompt->snippet_count++] = &request->found[i];
        budget -= request->found[i].body.size;
    }
}

bool completion_request_wants_found(const struct completion_request *request,
                                    const struct language *more_languages) {
    struct prompt prompt = {0};
    if (!request->has_segments || request->has_raw_prompt || request->next_edit || request->no_retrieval)
        return false;
    if (!language_find(request->language, more_languages)->comment) return false;
    return request->git_url.size > 0 && span_trim(request->prefix).size > 0 &&
           choose_snippets(request, &prompt) > PROMPT_FOUND_BYTES;
}

static void add_comment_line(struct text *out, const char *comment, struct span line) {
    text_add_string(out, comment);
    if (line.size > 0) text_printf(out, " " SPAN_FORMAT, SPAN_ARGS(line));
    text_add_char(out, '\n');
}

static void add_snippets(const struct prompt *prompt, const char *comment, struct text *out) {
    for (size_t i = 0; comment && i < prompt->snippet_count; i++) {
        if (i > 0) add_comment_line(out, comment, SPAN(""));
        scoped_string char *path = mem_printf("Path: " SPAN_FORMAT, SPAN_ARGS(prompt->snippets[i]->filepath));
        add_comment_line(out, comment, span_of(path));
        struct span rest = prompt->snippets[i]->body;
        while (rest.data && rest.size > 0) {
            struct span line = span_cut(&rest, '\n');
            if (span_ends(line, "\r")) line.size--;
            add_comment_line(out, comment, line);
        }
    }
}

static void build_whole(struct prompt *prompt, struct span snippets, struct span prefix, struct span suffix) {
    struct text *whole = &prompt->whole;
    text_add(whole, text_span(&prompt->parts[0]));
    if (prompt->suffix_first) text_add(whole, suffix), text_add(whole, text_span(&prompt->parts[1]));
    text_add(whole, snippets);
    text_add(whole, prefix);
    if (prompt->has_template && !prompt->suffix_first)
        text_add(whole, text_span(&prompt->parts[1])), text_add(whole, suffix);
    text_add(whole, text_span(&prompt->parts[2]));
    if (prompt->crlf) remove_cr(whole);
}

/* Whole lines of the suffix where a line ends in its second half. */
static size_t cut_suffix(struct span suffix, size_t limit_bytes) {
    if (suffix.size <= limit_bytes) return suffix.size;
    for (size_t at = limit_bytes; at > limit_bytes / 2; at--)
        if (suffix.data[at - 1] == '\n') return at;
    size_t at = utf8_boundary(suffix, limit_bytes);
    return at > limit_bytes ? utf8_whole((struct span){suffix.data, limit_bytes}) : at;
}

static void cut_to_fit(const struct completion_request *request, struct prompt *prompt,
                       const struct prompt_options *options, struct span snippets) {
    struct text prefix = {0};
    text_add(&prefix, request->prefix);
    if (prompt->crlf) remove_cr(&prefix), remove_cr(&prompt->suffix);
    size_t used = prompt->parts[0].size + prompt->parts[1].size + prompt->parts[2].size + snippets.size;
    if (prompt->has_template) {
        size_t kept = cut_suffix(text_span(&prompt->suffix), options->input_bytes / 3);
        prompt->suffix.size = kept;
        prompt->suffix.data[kept] = 0;
        used += kept;
    }
    size_t least = options->input_bytes / 6; /* beside many snippets, too, the cursor's surroundings count */
    size_t room = used + least < options->input_bytes ? options->input_bytes - used : least;
    scoped_string char *document =
        mem_printf(SPAN_FORMAT "\n" SPAN_FORMAT "\n" SPAN_FORMAT, SPAN_ARGS(options->user),
                   SPAN_ARGS(request->git_url), SPAN_ARGS(request->filepath));
    text_add(&prompt->prefix, snippets);
    struct text extended = {0};
    window_extend(options->window, span_of(document), text_span(&prefix), room, &extended);
    text_add(&prompt->prefix, text_span(&extended));
    text_done(&extended);
    text_done(&prefix);
}

/* A prompt that is taken as it is: no template, no snippets, only its end. */
static void build_raw(struct prompt *prompt, struct span raw, size_t limit_bytes) {
    text_add(&prompt->whole, raw);
    size_t from = raw.size > limit_bytes ? utf8_boundary(raw, raw.size - limit_bytes) : 0;
    text_add(&prompt->parts[0], (struct span){raw.data + from, raw.size - from});
}

struct error *prompt_build(const struct completion_request *request, const struct prompt_options *options,
                           struct prompt *ret_prompt) {
    struct prompt *prompt = ret_prompt;
    *prompt = (struct prompt){0};
    if (request->next_edit) {
        scoped_text struct text raw = {0};
        text_add(&raw, SPAN("<|original_code|>\n")), text_add(&raw, request->original_code);
        text_add(&raw, SPAN("\n<|edits_diff|>\n")), text_add(&raw, request->edits_diff);
        text_add(&raw, SPAN("\n<|current_version|>\n")), text_add(&raw, request->current_version);
        text_add(&raw, SPAN("\n<|next_version|>\n"));
        build_raw(prompt, text_span(&raw), options->input_bytes);
        return NULL;
    }
    if (request->has_raw_prompt) {
        build_raw(prompt, request->raw_prompt, options->input_bytes);
        return NULL;
    }
    if (options->template_text) TRY_PLAIN(template_parse(options->template_text, prompt));
    prompt->crlf = has_crlf(request->prefix) || has_crlf(request->suffix);
    struct span suffix = request->suffix.size > 0 ? request->suffix : SPAN("\n");
    text_add(&prompt->suffix, suffix);
    const struct language *language = language_find(request->language, options->languages);
    if (!request->no_retrieval) add_found(request, choose_snippets(request, prompt), prompt);
    scoped_text struct text snippets = {0};
    add_snippets(prompt, language->comment, &snippets);
    build_whole(prompt, text_span(&snippets), request->prefix, suffix);
    cut_to_fit(request, prompt, options, text_span(&snippets));
    return NULL;
}

size_t prompt_pieces(const struct prompt *prompt, struct engine_piece pieces[5]) {
    struct engine_piece parts[3];
    bool raw = !prompt->prefix.data && !prompt->has_template; /* all of it is in the first part */
    for (size_t i = 0; i < COUNT(parts); i++)
        parts[i] = (struct engine_piece){.text = text_span(&prompt->parts[i]), .special = true};
    struct engine_piece prefix = {.text = text_span(&prompt->prefix)},
                        suffix = {.text = text_span(&prompt->suffix)};
    size_t count = 0;
    parts[0].shrinks = raw;
    prefix.shrinks = !raw;
    pieces[count++] = parts[0];
    if (!prompt->has_template) {
        pieces[count++] = prefix;
    } else if (prompt->suffix_first) {
        pieces[count++] = suffix;
        pieces[count++] = parts[1];
        pieces[count++] = prefix;
    } else {
        suffix.movable = parts[1].movable = true;
        pieces[count++] = prefix;
        pieces[count++] = parts[1];
        pieces[count++] = suffix;
    }
    pieces[count++] = parts[2];
    return count;
}

void prompt_done(struct prompt *prompt) {
    text_done(&prompt->whole);
    text_done(&prompt->prefix);
    text_done(&prompt->suffix);
    for (size_t i = 0; i < COUNT(prompt->parts); i++) text_done(&prompt->parts[i]);
}
