/* See face.h. The library is libllama's own "common" code: it knows how the templates of many model families
 * ask for tools and how their answers spell the calls. */
#include "face.h"

#include <cstdlib>
#include <cstring>
#include <llama-chat/chat.h>
#include <llama-chat/log.h>
#include <random>
#include <regex>

struct face_templates {
    common_chat_templates_ptr templates;
};

struct face_reader {
    common_chat_parser_params how;
    common_chat_msg message;
    std::vector<std::string> ids;
};

static char *copy(const std::string &text) {
    char *made = static_cast<char *>(malloc(text.size() + 1));
    if (!made) abort();
    memcpy(made, text.c_str(), text.size() + 1);
    return made;
}

static char **copy_all(const std::vector<std::string> &texts) {
    char **made = static_cast<char **>(calloc(texts.size() + 1, sizeof *made));
    if (!made) abort();
    for (size_t i = 0; i < texts.size(); i++) made[i] = copy(texts[i]);
    return made;
}

static void free_all(char **texts) {
    for (char **at = texts; at && *at; at++) free(*at);
    free(texts);
}

/* Runs it; an exception becomes its text. */
template <typename Work> static char *guarded(Work work) {
    try {
        work();
        return nullptr;
    } catch (const std::exception &fault) {
        return copy(fault.what());
    } catch (...) {
        return copy("the template library failed without a word");
    }
}

char *face_templates_new(const struct llama_model *model, const char *text,
                         struct face_templates **ret_templates) {
    return guarded([&] {
        common_log_set_verbosity_thold(-1); /* its own complaints come back as exceptions too */
        auto made = std::make_unique<face_templates>();
        made->templates = common_chat_templates_init(model, text ? text : "");
        *ret_templates = made.release();
    });
}

void face_templates_free(struct face_templates *templates) {
    delete templates;
}

bool face_templates_tools(const struct face_templates *templates) {
    bool has = false;
    free(
        guarded([&] { has = common_chat_templates_get_caps(templates->templates.get())["supports_tools"]; }));
    return has;
}

static std::string escaped(const std::string &word) {
    std::string out;
    for (char c : word) {
        if (strchr(".^$|()*+?[]{}\\", c)) out += '\\';
        out += c;
    }
    return out;
}

/* Words and whole patterns as regular expressions, as the library's own sampler has them. */
static std::vector<std::string> triggers_of(const common_chat_params &params) {
    std::vector<std::string> patterns;
    for (const auto &trigger : params.grammar_triggers) {
        const std::string &value = trigger.value;
        if (trigger.type == COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN)
            patterns.push_back(value);
        else if (trigger.type == COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN_FULL)
            patterns.push_back("^" + value + "$");
        else
            patterns.push_back(escaped(value));
    }
    return patterns;
}

static common_chat_templates_inputs inputs_of(const struct face_request *request) {
    common_chat_templates_inputs inputs;
    inputs.messages = common_chat_msgs_parse_oaicompat(common_json::parse(request->messages));
    if (request->tools) inputs.tools = common_chat_tools_parse_oaicompat(common_json::parse(request->tools));
    inputs.tool_choice = common_chat_tool_choice_parse_oaicompat(request->tool_choice);
    inputs.parallel_tool_calls = request->parallel_tools;
    inputs.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
    if (request->schema) inputs.json_schema = request->schema;
    if (request->arguments) {
        common_json arguments = common_json::parse(request->arguments);
        for (const auto &item : arguments.items())
            inputs.chat_template_kwargs[item.key()] = item.value().dump();
        auto thinking = inputs.chat_template_kwargs.find("enable_thinking");
        if (thinking != inputs.chat_template_kwargs.end())
            inputs.enable_thinking = thinking->second != "false";
    }
    return inputs;
}

/* The library lets any text come before a call that must come; small models then talk until nothing is left.
 */
static void call_at_once(std::string &grammar) {
    size_t root = grammar.find("root ::="), end = grammar.find('\n', root);
    if (root == std::string::npos) return;
    std::string rule = grammar.substr(root, end - root);
    rule = std::regex_replace(rule, std::regex(" until-[0-9]+\\?"), "");
    grammar.replace(root, end == std::string::npos ? end : end - root, rule);
}

char *face_render(const struct face_templates *templates, const struct face_request *request,
                  struct face_prompt *ret_prompt) {
    *ret_prompt = {};
    return guarded([&] {
        common_chat_templates_inputs inputs = inputs_of(request);
        common_chat_params params = common_chat_templates_apply(templates->templates.get(), inputs);
        auto reader = std::make_unique<face_reader>();
        reader->how = common_chat_parser_params(params);
        reader->how.reasoning_format = inputs.reasoning_format;
        if (!params.parser.empty()) reader->how.parser.load(params.parser);
        ret_prompt->plain = inputs.tools.empty() && inputs.json_schema.empty() && !params.supports_thinking &&
                            params.thinking_start_tag.empty() &&
                            params.generation_prompt.find("<think>") == std::string::npos;
        ret_prompt->text = copy(params.prompt);
        if (inputs.tool_choice == COMMON_CHAT_TOOL_CHOICE_REQUIRED) call_at_once(params.grammar);
        ret_prompt->grammar = params.grammar.empty() ? nullptr : copy(params.grammar);
        ret_prompt->begun = copy(params.generation_prompt);
        ret_prompt->lazy = params.grammar_lazy;
        ret_prompt->triggers = copy_all(triggers_of(params));
        ret_prompt->stops = copy_all(params.additional_stops);
        ret_prompt->spelled = copy_all(params.preserved_tokens);
        ret_prompt->reader = reader.release();
    });
}

void face_prompt_done(struct face_prompt *prompt) {
    free(prompt->text);
    free(prompt->grammar);
    free(prompt->begun);
    free_all(prompt->triggers);
    free_all(prompt->stops);
    free_all(prompt->spelled);
    delete prompt->reader;
    *prompt = {};
}

static std::string new_call_id() {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    std::random_device dice;
    std::string id = "call_";
    for (int i = 0; i < 24; i++) id += letters[dice() % (sizeof letters - 1)];
    return id;
}

static common_json delta_of(const common_chat_msg_diff &diff) {
    common_json delta = common_json::object();
    if (!diff.reasoning_content_delta.empty()) delta["reasoning_content"] = diff.reasoning_content_delta;
    if (!diff.content_delta.empty()) delta["content"] = diff.content_delta;
    if (diff.tool_call_index == std::string::npos) return delta;
    common_json call = common_json::object(), function = common_json::object();
    call["index"] = static_cast<int64_t>(diff.tool_call_index);
    if (!diff.tool_call_delta.id.empty()) {
        call["id"] = diff.tool_call_delta.id;
        call["type"] = "function";
    }
    if (!diff.tool_call_delta.name.empty()) function["name"] = diff.tool_call_delta.name;
    function["arguments"] = diff.tool_call_delta.arguments;
    call["function"] = function;
    common_json calls = common_json::array();
    calls.push_back(call);
    delta["tool_calls"] = calls;
    return delta;
}

char *face_read(struct face_reader *reader, const char *text, size_t size, bool whole, char **ret_deltas) {
    *ret_deltas = nullptr;
    return guarded([&] {
        common_chat_msg message = common_chat_parse(std::string(text, size), !whole, reader->how);
        common_json deltas = common_json::array();
        if (!message.empty()) {
            message.set_tool_call_ids(reader->ids, new_call_id);
            for (const auto &diff : common_chat_msg_diff::compute_diffs(reader->message, message))
                deltas.push_back(delta_of(diff));
            reader->message = message;
        }
        *ret_deltas = copy(deltas.dump_safe());
    });
}

char *face_message(const struct face_reader *reader) {
    char *text = nullptr;
    free(guarded([&] { text = copy(reader->message.to_json_oaicompat().dump_safe()); }));
    return text;
}

bool face_calls_tools(const struct face_reader *reader) {
    return !reader->message.tool_calls.empty();
}
