"""Which Stripe the mesh works with: the sandbox that it starts itself, or the real one where its keys are set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from cli.config import MeshSettings
from cli.folder import DataFolder
from cli.refusal import CommandRefused


@dataclass(frozen=True, kw_only=True)
class Stripe:
    """An account with its keys. `sandbox_url`: empty for the real Stripe."""

    api_key: str
    publishable_key: str
    webhook_secrets: str
    sandbox_url: str = ""

    @property
    def is_live(self) -> bool:
        """Whether real money moves."""
        return not self.api_key.startswith(("sk_test_", "rk_test_"))

    def for_payments(self) -> Mapping[str, str]:
        """What the payment service is told."""
        base = {"STRIPE_API_BASE": self.sandbox_url} if self.sandbox_url else {}
        return {"STRIPE_API_KEY": self.api_key, "STRIPE_WEBHOOK_SECRETS": self.webhook_secrets, **base}

    def for_gateways(self) -> Mapping[str, str]:
        """What the gateways tell browsers."""
        base = {"STRIPE_BROWSER_BASE": self.sandbox_url} if self.sandbox_url else {}
        return {"STRIPE_PUBLISHABLE_KEY": self.publishable_key, **base}

    def for_sandbox(self) -> Mapping[str, str]:
        return {
            "STRIPE_API_KEY": self.api_key,
            "STRIPE_PUBLISHABLE_KEY": self.publishable_key,
            "WEBHOOK_SECRETS": self.webhook_secrets,
        }


def stripe_of(settings: MeshSettings, folder: DataFolder) -> Stripe:
    """The account.

    Raises:
        CommandRefused: the key of the real Stripe is set and others that go with it are not.
    """
    if settings.stripe_api_key is not None:
        return _real(settings)
    return sandbox_of(folder, address=f"127.0.0.1:{settings.sandbox_port}")


def sandbox_of(folder: DataFolder, *, address: str) -> Stripe:
    """The sandbox's account: its keys are the data folder's."""
    return Stripe(
        api_key=f"sk_test_{folder.secret('stripe_api_key')}",
        publishable_key=f"pk_test_{folder.secret('stripe_publishable_key')}",
        webhook_secrets=f"whsec_{folder.secret('stripe_webhook_secret')}",
        sandbox_url=f"http://{address}",
    )


def _real(settings: MeshSettings) -> Stripe:
    names = ("stripe_api_key", "stripe_publishable_key", "stripe_webhook_secrets")
    given: dict[str, SecretStr | None] = {name: getattr(settings, name) for name in names}
    missing = [name.upper() for name, value in given.items() if value is None]
    if missing:
        raise CommandRefused(f"STRIPE_API_KEY is set, {' and '.join(missing)} not: set them too, or none to use the sandbox")
    key, publishable, secrets = (value.get_secret_value() for value in given.values() if value is not None)
    return Stripe(api_key=key, publishable_key=publishable, webhook_secrets=secrets)
