"""The provider behind OpenAI's SDK: OpenAI itself, or any server that speaks its chat completions.

The SDK is imported when a provider is made, not when the room is: it takes 0.5 s, and who runs the
extractive model needs none of it. It makes one attempt per call; whoever wants another one asks again.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from regrow.router.errors import (
    BadAnswer,
    KeyRejected,
    ProviderBroke,
    ProviderFailed,
    ProviderTimedOut,
    ProviderUnreachable,
    RateLimited,
    RequestRejected,
)
from regrow.router.openai_stream import Written, is_whole, outside
from regrow.router.openai_tools import SaidCall, as_messages, as_tools, calls_in
from regrow.router.prompting import as_label, chat_messages, checked_quotes, cited_sources
from regrow.router.provider import Emit, ProviderReply
from regrow.router.request import FinishReason, ModelRequest, Usage
from regrow.router.settings import DEFAULT_TIMEOUT_S, OPENAI_BASE_URL
from regrow.router.wire_attempts import WireWatch
from regrow.runtime.errors import Closed
from regrow.runtime.guards import Guards
from regrow.runtime.run_store import RunStore

if TYPE_CHECKING:
    from openai import APIConnectionError, APIStatusError, AsyncOpenAI

    from regrow.router.catalog import ModelCard
    from regrow.router.conversation import ToolCall

NO_KEY: Final = "none"
"""Sent where no key is set: local servers ask for none, and the SDK refuses to start without one."""

LIMIT_DETAIL_CHARS: Final = 300
"""How much of a provider's own error text is shown."""

# Hosts that take the newer name of the output limit; many compatible servers know only the older one.
_NEWER_HOSTS: Final = ("api.openai.com", ".openai.azure.com")
# A gateway that gave up waiting: the model behind it may have run.
_GATEWAY_GAVE_UP: Final = frozenset((502, 504, 524))
_FINISH: Final = {"length": FinishReason.LENGTH, "content_filter": FinishReason.FILTERED}
_THINKING: Final = re.compile(r"\A\s*<think>.*?</think>\s*", re.DOTALL)


class OpenAIProvider:
    """One address and key, for all models there.

    `timeout_s` bounds a whole call, from the connection to the last byte. `key_name` is the environment
    variable that the key came from, for the error texts; the key itself is never shown.
    """

    def __init__(
        self,
        *,
        api_key: str | None,
        base_url: str = OPENAI_BASE_URL,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        key_name: str = "OPENAI_API_KEY",
        guards: Guards | None = None,
        runs: RunStore | None = None,
    ) -> None:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        self._host = urlsplit(base_url).netloc.rpartition("@")[2]
        self._key_name = key_name
        self._has_key = bool(api_key)
        self._timeout_s = timeout_s
        self._closed = False
        self._wire = WireWatch(guards if guards is not None else Guards(), monotonic, runs)
        self._client: AsyncOpenAI = AsyncOpenAI(
            api_key=api_key or NO_KEY,
            base_url=base_url,
            max_retries=0,
            timeout=timeout_s,
            http_client=DefaultAsyncHttpxClient(event_hooks=self._wire.event_hooks, timeout=timeout_s),
        )
        name = (urlsplit(base_url).hostname or "").lower()
        self._newer = name.endswith(_NEWER_HOSTS)

    async def complete(self, request: ModelRequest, card: ModelCard) -> ProviderReply:
        """Give the completion of `request`; quotations in it are checked against the passages.

        Raises:
            ProviderFailed: the subclass says whose turn it is to act, the text what to do.
            Closed: the provider was closed before.
        """
        from openai import APIConnectionError, APIResponseValidationError, APIStatusError

        if self._closed:
            raise Closed(f"the provider at {self._host} was closed; make another one")
        try:
            async with self._one_call():
                raw = await self._client.chat.completions.create(**self.arguments(request, card))
        except APIStatusError as error:
            raise self._refusal(error, card) from error
        except APIConnectionError as error:
            raise self._no_connection(error, card) from error
        except TimeoutError as error:
            raise self._too_slow(card) from error
        except (APIResponseValidationError, ValueError) as error:
            # ValueError: the SDK lets the JSON decoder's error through when a body is broken.
            raise self._unreadable(card, str(error)) from error
        return self._read(raw, request, card)

    async def stream(self, request: ModelRequest, card: ModelCard, emit: Emit) -> ProviderReply:
        """Give the same while it is written. Of `labels` one is chosen, and that can be told only at the end.

        A server that does not stream is read as `complete` reads it, and its text comes in one piece.

        Raises as `complete` does; a stream that breaks off, also behind its first pieces, is a failure.
        """
        from openai import APIConnectionError, APIError, APIResponseValidationError, APIStatusError

        if self._closed:
            raise Closed(f"the provider at {self._host} was closed; make another one")
        written, shown, whole = Written(), "", None
        arguments: dict[str, Any] = {**self.arguments(request, card), "stream_options": {"include_usage": True}}
        try:
            async with self._one_call() as limit:
                async with await self._client.chat.completions.create(**arguments, stream=True) as chunks:
                    if is_whole(chunks.response.headers):
                        whole = json.loads(await chunks.response.aread())
                    else:
                        async for raw in chunks:
                            written.add(raw)
                            if not request.labels and (piece := written.fresh()):
                                shown += piece
                                await outside(limit, emit(piece))
                        written.check_whole()
            calls = calls_in(written.calls)
        except APIStatusError as error:
            raise self._refusal(error, card) from error
        except APIConnectionError as error:
            raise self._no_connection(error, card) from error
        except TimeoutError as error:
            raise self._too_slow(card) from error
        except (APIResponseValidationError, ValueError) as error:
            raise self._unreadable(card, str(error)) from error
        except APIError as error:  # told by the server in the midst of its stream
            raise self._broke_off(card, error.message) from error
        if whole is not None:
            reply = self._read(whole, request, card)
        else:
            reply = _reply(written.content, written.refusal, written.finish_reason, written.usage, request, calls)
        if reply.text.startswith(shown) and len(reply.text) > len(shown):
            await emit(reply.text[len(shown) :])
        return reply

    @asynccontextmanager
    async def _one_call(self) -> AsyncIterator[asyncio.Timeout]:
        """What is sent meanwhile is one attempt; whatever repeats it is hidden."""
        with self._wire.call(self._host):
            async with asyncio.timeout(self._timeout_s) as limit:
                yield limit

    async def aclose(self) -> None:
        """Close the connections."""
        if not self._closed:
            self._closed = True
            await self._client.close()

    def arguments(self, request: ModelRequest, card: ModelCard) -> dict[str, Any]:
        """Give what is sent to the SDK for `request`."""
        limit = "max_completion_tokens" if self._newer else "max_tokens"
        messages = [{"role": message.role, "content": message.content} for message in chat_messages(request)]
        messages += as_messages(request.messages)
        offered = {"tools": as_tools(request.tools)} if request.tools else {}
        return {"model": card.name, "messages": messages, limit: request.max_output_tokens, **offered}

    def _read(self, raw: object, request: ModelRequest, card: ModelCard) -> ProviderReply:
        try:
            answer = _Answer.model_validate(raw, from_attributes=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the body"
            raise self._unreadable(card, f"{place}: {first['msg']}") from error
        choice = answer.choices[0]
        said = choice.message
        try:
            calls = calls_in(said.tool_calls or ())
        except ValueError as error:
            raise self._unreadable(card, str(error)) from error
        return _reply(said.content, said.refusal, choice.finish_reason, answer.usage, request, calls)

    def _refusal(self, error: APIStatusError, card: ModelCard) -> ProviderFailed:
        """What an answer with an error status means, and what to do about it."""
        from openai import AuthenticationError, PermissionDeniedError, RateLimitError

        provider, model = card.provider, card.name
        said = _detail(error.message)
        if isinstance(error, AuthenticationError | PermissionDeniedError):
            what = (
                f"does not accept the key in {self._key_name}"
                if self._has_key
                else f"wants a key, and {self._key_name} is not set"
            )
            return KeyRejected(
                f"{self._host} {what} for {card.name} (HTTP {error.status_code}: {said}); "
                f"set {self._key_name} to a valid key",
                provider=provider,
                model=model,
            )
        if isinstance(error, RateLimitError):
            wait_s = _retry_after_s(error)
            advice = f"wait {wait_s:g} s" if wait_s is not None else "wait"
            if error.code == "insufficient_quota":
                advice = "top up the account"
            return RateLimited(
                f"{self._host} takes no more calls for {card.name} now ({said}); {advice}, or send less",
                retry_after_s=wait_s,
                provider=provider,
                model=model,
            )
        if error.status_code >= 500:
            return ProviderBroke(
                f"{self._host} failed while running {card.name} (HTTP {error.status_code}: {said}); "
                "it is their fault: ask again later, or name another model in the settings",
                may_have_cost=error.status_code in _GATEWAY_GAVE_UP,
                provider=provider,
                model=model,
            )
        if error.status_code == 404:
            advice = "check the model's name and base_url in the settings (REGROW_SMALL_MODEL, REGROW_LARGE_MODEL)"
        elif error.code == "context_length_exceeded":
            advice = "send fewer or shorter passages, or name a model with a longer context"
        else:
            advice = "the request does not suit this model or server"
        return RequestRejected(
            f"{self._host} does not run this request on {card.name} (HTTP {error.status_code}: {said}); {advice}",
            provider=provider,
            model=model,
        )

    def _no_connection(self, error: APIConnectionError, card: ModelCard) -> ProviderFailed:
        cause = error.__cause__
        # By name: which HTTP client raised it is the SDK's own affair, and has changed between its versions.
        kinds = {cls.__name__ for cls in type(cause).__mro__}
        provider, model = card.provider, card.name
        if "TimeoutException" in kinds and "ConnectTimeout" not in kinds:
            return self._too_slow(card)
        if kinds & {"ConnectError", "ConnectTimeout"}:
            return ProviderUnreachable(
                f"nothing answers at {self._host} ({_detail(str(cause) or type(cause).__name__)}); "
                "check base_url (OPENAI_BASE_URL) and that the server runs",
                provider=provider,
                model=model,
            )
        # The request was sent, so the model may have run although its answer was lost.
        return ProviderUnreachable(
            f"the connection to {self._host} broke during a call of {card.name} "
            f"({_detail(str(cause or error))}); ask again",
            may_have_cost=True,
            provider=provider,
            model=model,
        )

    def _broke_off(self, card: ModelCard, said: str) -> ProviderBroke:
        return ProviderBroke(
            f"{self._host} broke off while {card.name} was writing ({_detail(said)}); what came before is no whole "
            "answer: ask again, or name another model in the settings",
            may_have_cost=True,
            provider=card.provider,
            model=card.name,
        )

    def _too_slow(self, card: ModelCard) -> ProviderTimedOut:
        return ProviderTimedOut(
            f"{card.name} at {self._host} did not answer within {self._timeout_s:g} s; ask for fewer "
            "max_output_tokens, or raise timeout_s in the settings",
            provider=card.provider,
            model=card.name,
            may_have_cost=True,
        )

    def _unreadable(self, card: ModelCard, problem: str) -> BadAnswer:
        return BadAnswer(
            f"{self._host} answered for {card.name} with something that is no chat completion "
            f"({_detail(problem)}); check that base_url leads to an OpenAI-compatible server",
            provider=card.provider,
            model=card.name,
            may_have_cost=True,
        )


def _reply(
    content: str | None,
    refusal: str | None,
    finish_reason: str | None,
    usage: object,
    request: ModelRequest,
    calls: tuple[ToolCall, ...],
) -> ProviderReply:
    finish = _FINISH.get(finish_reason or "", FinishReason.STOP)
    if refusal and not content:
        finish = FinishReason.FILTERED
    if calls and finish is FinishReason.STOP:
        finish = FinishReason.TOOL_CALLS  # some servers say `stop`; cut off or filtered, the calls may be halves
    # Some servers leave a reasoning model's thoughts in the answer; they are none of it.
    text = _THINKING.sub("", content or refusal or "").strip()
    if request.labels:
        text = as_label(text, request.labels)
    return ProviderReply(
        text=text,
        finish=finish,
        quotes=checked_quotes(text, request.context),
        sources=cited_sources(text, request.context),
        usage=_usage(usage),
        tool_calls=calls,
    )


class _Said(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[SaidCall] | None = None


class _Choice(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    message: _Said
    finish_reason: str | None = None


class _Answer(BaseModel):
    """The part of a completion that is used. The SDK checks none of it."""

    model_config = ConfigDict(from_attributes=True)
    choices: list[_Choice] = Field(min_length=1)
    usage: Any = None


class _CachedCount(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    cached_tokens: int | None = Field(default=None, ge=0)


class _Counts(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)
    prompt_tokens_details: _CachedCount | None = None


def _usage(raw: object) -> Usage | None:
    """The counted tokens; None where the server counts none or not readably, which is no reason to lose the answer."""
    if raw is None:
        return None
    try:
        counts = _Counts.model_validate(raw, from_attributes=True)
    except ValidationError:
        return None
    details = counts.prompt_tokens_details
    cached = (details.cached_tokens or 0) if details is not None else 0
    return Usage(
        input_tokens=counts.prompt_tokens,
        output_tokens=counts.completion_tokens,
        cached_tokens=min(cached, counts.prompt_tokens),
    )


def _retry_after_s(error: APIStatusError) -> float | None:
    """The wait that the provider advises, where it gives it in seconds; the form with a date is rare."""
    try:
        return max(0.0, float(error.response.headers.get("retry-after", "")))
    except ValueError:
        return None


def _detail(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LIMIT_DETAIL_CHARS else line[: LIMIT_DETAIL_CHARS - 1] + "…"
