from collections.abc import Mapping
from typing import Any, cast

from drf_spectacular.utils import inline_serializer
from rest_framework import serializers
from rest_framework.views import APIView

from apps.core.errors import DomainError
from apps.organizations.models import Organization
from apps.organizations.permissions import Scope
from apps.organizations.selectors import Principal


def listing(shape: type[serializers.Serializer[Any]]) -> serializers.Serializer[Any]:
    """The document's shape of a list: {"data": [...], "next": cursor or null}."""
    name = shape.__name__.removesuffix("Output").removesuffix("Input")
    fields = {"data": shape(many=True), "next": serializers.CharField(allow_null=True)}
    listed: serializers.Serializer[Any] = inline_serializer(f"{name}List", fields)
    return listed


class Exact(serializers.Serializer[Any]):
    """A body of these fields and no others: a misspelled one must not be taken for one that was left out.

    Raises `DomainError` (`field_unknown`).
    """

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, Mapping) else []
        if unknown:
            name = unknown[0][:64]
            raise DomainError(
                "field_unknown", f"'{name}' is no field here. Use {', '.join(sorted(self.fields))}.", param=name
            )
        return super().to_internal_value(data)


class Quoted(serializers.CharField):
    """A decimal as a string. A JSON number has lost digits before anybody reads it."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError(
                f'Write "{str(data)[:40]}" in quotes: amounts and rates are decimal strings.'
            )
        text: str = super().to_internal_value(data)
        return text


# No docstring: the API's document would show it on every operation.
class ScopedView(APIView):
    # Declares the scope each of its methods needs; one that does not refuses to load.
    scopes: dict[str, Scope]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        methods = {name for name in ("get", "post", "put", "patch", "delete") if hasattr(cls, name)}
        undeclared = methods - {method.lower() for method in getattr(cls, "scopes", {})}
        if undeclared:
            raise TypeError(f"{cls.__name__} declares no scope for {', '.join(sorted(undeclared))}.")

    @property
    def principal(self) -> Principal:
        return cast("Principal", self.request.auth)

    @property
    def organization(self) -> Organization:
        return self.principal.organization
