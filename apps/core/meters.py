"""The meters: the classes of billable quantity, disjoint, in one fixed order.

A quantity is an integer in the meter's smallest unit. Vectors of quantities and of rates follow the
order of `METERS`, so a cost is one dot product.
"""

METERS: tuple[str, ...] = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "image_input_tokens",
    "image_output_tokens",
    "requests",
    "images",
    "audio_milliseconds",
    "characters",
    "searches",
    "audio_cache_read_tokens",
    "image_cache_read_tokens",
    "video_milliseconds",
    "file_searches",
    "code_sessions",
    "pages",
)

METER_INDEX: dict[str, int] = {name: index for index, name in enumerate(METERS)}

# What a model reads for one call: the length of its prompt, however it was billed.
PROMPT_METERS: tuple[str, ...] = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "audio_input_tokens",
    "image_input_tokens",
    "audio_cache_read_tokens",
    "image_cache_read_tokens",
)

QUANTITY_MAX = 10**12

NO_QUANTITIES: tuple[int, ...] = (0,) * len(METERS)

# What pages and files sum up as tokens in, cached and out.
TOKENS_IN = ("input_tokens", "audio_input_tokens", "image_input_tokens")
TOKENS_CACHED = (
    "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "audio_cache_read_tokens",
    "image_cache_read_tokens",
)  # fmt: skip
TOKENS_OUT = ("output_tokens", "reasoning_tokens", "audio_output_tokens", "image_output_tokens")
