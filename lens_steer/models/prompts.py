"""What a text follows: a prompt as text, or as a chat that the tokenizer's template writes out."""

from dataclasses import dataclass
from typing import Any

from lens_steer.arguments import shortened
from lens_steer.models.protocol import SteerableModel
from lens_steer.models.special_tokens import tokenizer_of
from lens_steer.reports import short_repr


@dataclass(frozen=True)
class Message:
    """One turn of a chat; `role` is the template's word for the speaker, such as `user`."""

    role: str
    content: str

    __repr__ = short_repr


Prompt = str | tuple[Message, ...]

_ASSISTANT_ROLES = ("assistant", "model")  # a last message of theirs is continued, not answered
# Many templates write whatever role comes: a misspelt one would go unnoticed.
_ROLES = ("system", "developer", "user", *_ASSISTANT_ROLES, "tool")


def as_prompt(prompt: Any) -> Prompt:
    """A prompt from text, or from a chat: messages as `{"role": ..., "content": ...}`.

    Returns:
        The text, or a tuple of `Message`.

    Raises:
        ValueError: If it is neither, or the chat is empty.

    Example:
        >>> as_prompt([{"role": "user", "content": "Hello!"}])
        (Message(role='user', content='Hello!'),)
    """
    if isinstance(prompt, str):
        return prompt
    try:
        messages = tuple(
            message
            if isinstance(message, Message)
            else Message(message["role"], message["content"])
            for message in prompt
        )
    except (TypeError, KeyError) as error:
        raise ValueError(
            f"got the prompt {shortened(prompt)}, expected text or a list of "
            "{'role': ..., 'content': ...}"
        ) from error
    if not messages or not all(
        isinstance(m.role, str) and isinstance(m.content, str) for m in messages
    ):
        raise ValueError(
            f"got the chat {shortened(prompt)}, expected one message or more, role and content "
            "being text"
        )
    return messages


def render(model: SteerableModel, prompt: Prompt) -> str:
    """The text of a prompt; a chat is written with the tokenizer's chat template.

    The text ends where the assistant begins to speak or, if the last message is the assistant's
    own, with that message, which is then continued (`continue_final_message` of Hugging Face):
    whatever the template writes after it, such as the end of the turn, is left out.

    Raises:
        ValueError: If the prompt is a chat and the tokenizer has no template, a role is neither
            one of the usual ones nor one that the template names, or the template refuses the chat.

    Example:
        >>> print(render(model, (Message("user", "Hello!"),)))
        <|im_start|>user
        Hello!<|im_end|>
        <|im_start|>assistant
    """
    if isinstance(prompt, str):
        return prompt
    tokenizer = tokenizer_of(model)
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            "got a chat, but this model's tokenizer has no chat template: set "
            "tokenizer.chat_template, or write the prompt as text"
        )
    _check_roles(prompt, str(tokenizer.chat_template))
    from jinja2 import TemplateError  # what a template raises to refuse a chat

    messages = [{"role": message.role, "content": message.content} for message in prompt]
    continued = prompt[-1].role in _ASSISTANT_ROLES
    try:
        return tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=not continued,
            continue_final_message=continued,
        )
    except (ValueError, TemplateError) as error:
        reason = str(error).splitlines()[0]
        roles = ", ".join(message.role for message in prompt)
        raise ValueError(
            f"the model's chat template refuses a chat of the roles {roles} ({reason}): "
            "change the messages, or write the prompt as text"
        ) from error


def _check_roles(chat: tuple[Message, ...], template: str) -> None:
    for message in chat:
        named = any(f"{quote}{message.role}{quote}" in template for quote in "'\"")
        if message.role not in _ROLES and not named:
            raise ValueError(
                f"got a chat message of the role {shortened(message.role)}, expected one of "
                f"{', '.join(_ROLES)}, or a role that the model's chat template names"
            )
