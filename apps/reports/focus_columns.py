"""The columns of FOCUS 1.2, those of later versions that add to it, and our own; and meters in its words. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from apps.core.meters import METERS

# All 57 of FOCUS 1.2, in its order; what is not known stays empty.
FOCUS_1_2 = (
    "AvailabilityZone", "BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType",
    "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "CapacityReservationId", "CapacityReservationStatus",
    "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart",
    "CommitmentDiscountCategory", "CommitmentDiscountId", "CommitmentDiscountName", "CommitmentDiscountQuantity",
    "CommitmentDiscountStatus", "CommitmentDiscountType", "CommitmentDiscountUnit", "ConsumedQuantity", "ConsumedUnit",
    "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "InvoiceId", "InvoiceIssuerName", "ListCost",
    "ListUnitPrice", "PricingCategory", "PricingCurrency", "PricingCurrencyContractedUnitPrice",
    "PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice", "PricingQuantity", "PricingUnit", "ProviderName",
    "PublisherName", "RegionId", "RegionName", "ResourceId", "ResourceName", "ResourceType", "ServiceCategory",
    "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId", "SubAccountId",
    "SubAccountName", "SubAccountType", "Tags",
)  # fmt: skip
# Of 1.3, 1.4 and the draft of 1.5: readers of 1.2 pass them over.
LATER = (
    "ServiceProviderName", "HostProviderName", "PrincipalId", "CredentialId", "InvoiceDetailId", "AllocatedMethodId",
    "AllocatedMethodDetails", "AllocatedResourceId", "AllocatedResourceName", "AllocatedTags",
)  # fmt: skip
OWN = (
    "x_Project", "x_Workflow", "x_TaskType", "x_Environment", "x_ServiceTier", "x_Status", "x_Meter", "x_CostBasis",
    "x_PriceBasis", "x_RequestCount", "x_UnpricedEvents", "x_StatementId", "x_LineKind", "x_Amount", "x_Currency",
)  # fmt: skip
COLUMNS = (*FOCUS_1_2, *LATER, *OWN)

# Quantities are priced by the million, whatever they count: so is every rate, and no product of the two is rounded.
PRICING_BLOCK = 10**6

PROVIDERS = {
    "alibaba": "Alibaba Cloud", "anthropic": "Anthropic", "aws": "AWS", "azure": "Microsoft Azure",
    "cerebras": "Cerebras", "cohere": "Cohere", "deepseek": "DeepSeek", "fireworks": "Fireworks AI",
    "github-copilot": "GitHub Copilot", "google": "Google", "groq": "Groq", "huggingface": "Hugging Face",
    "meta": "Meta", "mistral": "Mistral AI", "moonshotai": "Moonshot AI", "novita": "Novita AI", "openai": "OpenAI",
    "openrouter": "OpenRouter", "perplexity": "Perplexity", "together": "Together AI", "x-ai": "xAI",
}  # fmt: skip


class Sku(NamedTuple):
    """A meter as FOCUS names it: what is metered, the plural of its unit, and keys of SkuPriceDetails."""

    meter: str
    unit: str
    details: Mapping[str, str]

    @property
    def pricing_unit(self) -> str:
        return f"{PRICING_BLOCK} {self.unit}"


def _tokens(name: str, direction: str, action: str | None, **more: str) -> Sku:
    details = {"TokenDirection": direction, **({"TokenCacheAction": action} if action else {}), **more}
    return Sku(f"{name} Tokens", "Tokens", details)


SKUS: Mapping[str, Sku] = {
    "input_tokens": _tokens("Input", "Input", "Uncached"),
    "cache_read_tokens": _tokens("Cache Read Input", "Input", "Read"),
    "cache_write_5m_tokens": _tokens("Cache Write Input", "Input", "Write", x_CacheLifetime="5m"),
    "cache_write_1h_tokens": _tokens("Cache Write Input", "Input", "Write", x_CacheLifetime="1h"),
    "output_tokens": _tokens("Output", "Output", None),
    "reasoning_tokens": _tokens("Reasoning Output", "Output", None, x_Reasoning="true"),
    "audio_input_tokens": _tokens("Audio Input", "Input", "Uncached", x_Modality="Audio"),
    "audio_output_tokens": _tokens("Audio Output", "Output", None, x_Modality="Audio"),
    "image_input_tokens": _tokens("Image Input", "Input", "Uncached", x_Modality="Image"),
    "image_output_tokens": _tokens("Image Output", "Output", None, x_Modality="Image"),
    "requests": Sku("Requests", "Requests", {}),
    "images": Sku("Images", "Images", {}),
    "audio_milliseconds": Sku("Audio Duration", "Milliseconds", {"x_Modality": "Audio"}),
    "characters": Sku("Characters", "Characters", {}),
    "searches": Sku("Web Searches", "Searches", {}),
    "audio_cache_read_tokens": _tokens("Cache Read Audio Input", "Input", "Read", x_Modality="Audio"),
    "image_cache_read_tokens": _tokens("Cache Read Image Input", "Input", "Read", x_Modality="Image"),
    "video_milliseconds": Sku("Video Duration", "Milliseconds", {"x_Modality": "Video"}),
    "file_searches": Sku("File Searches", "Searches", {}),
    "code_sessions": Sku("Code Sessions", "Sessions", {}),
    "pages": Sku("Pages", "Pages", {}),
}
assert SKUS.keys() == set(METERS)
