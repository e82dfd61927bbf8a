"""Every setting, read from the environment; a bad value stops the start with a sentence.

One installation is one Postgres and one Redis. Which database role a process uses follows from
`FINOPS_PROCESS`: the site connects as finops_app, Celery as finops_worker, migrations through the
alias "owner" as finops_owner.
"""

import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from csp.constants import NONCE, NONE, SELF
from redis.backoff import NoBackoff
from redis.retry import Retry

from finops import logging as finops_logging
from finops.env import (
    database_from_url,
    env_bool,
    env_file,
    env_int,
    env_keys,
    env_list,
    env_networks,
    env_secret,
    env_str,
)

BASE_DIR = Path(__file__).resolve().parent.parent

# --- what runs here ----------------------------------------------------------------------------------

PROCESS = env_str("FINOPS_PROCESS", default="web", choices=("web", "worker"))
DEBUG = env_bool("DEBUG", default=False)
EMBEDDED = env_bool("FINOPS_EMBEDDED", default=False)
# A random key per process would log everybody out at each restart, so embedded mode keeps one in a file.
SECRET_KEY = env_secret("SECRET_KEY", default=secrets.token_urlsafe(50) if DEBUG else None)
# What is secret in the database is encrypted by the first of them and opened by each. Losing them loses it.
ENCRYPTION_KEYS = env_keys("ENCRYPTION_KEYS", env_secret("ENCRYPTION_KEYS"))
BASE_URL = env_str("BASE_URL", default=f"http://localhost:{env_int('PORT', default=8000)}")
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env_list("CSRF_TRUSTED_ORIGINS", default=[BASE_URL])
SECURE = BASE_URL.startswith("https://")

INSTALLED_APPS = [
    # Without autodiscovery: apps.portal.staff says what staff sees.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.socialaccount.providers.saml",
    "csp",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "apps.core",
    "apps.audit",
    "apps.accounts",
    "apps.organizations",
    "apps.teams",
    "apps.pricing",
    "apps.usage",
    "apps.budgets",
    "apps.reports",
    "apps.planner",
    "apps.insights",
    "apps.alerts",
    "apps.ingest",
    "apps.api",
    "apps.portal",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "apps.core.middleware.RequestIdMiddleware",
    "apps.core.middleware.AccessMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "apps.core.middleware.NoStoreMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "apps.api.middleware.ApiMiddleware",  # what follows is for pages
    "csp.middleware.CSPMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.common.CommonMiddleware",  # refuses hosts: below what every answer carries
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "apps.accounts.middleware.SeenMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "apps.portal.looking.LookingMiddleware",
    "apps.portal.own_account.OwnAccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]

ROOT_URLCONF = "finops.urls"
WSGI_APPLICATION = "finops.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# --- stores ------------------------------------------------------------------------------------------

# A few connections per process: more clients on one hot row make it slower, not faster.
DATABASE_POOL_MAX = env_int("DATABASE_POOL_MAX", default=8, minimum=2, maximum=100)
DATABASE_URL = env_str("DATABASE_URL")
DATABASES = {"default": database_from_url(DATABASE_URL, pool_max=DATABASE_POOL_MAX)}
if PROCESS == "worker":
    if _worker_url := env_str("DATABASE_WORKER_URL", default=""):
        DATABASES["default"] = database_from_url(
            _worker_url, variable="DATABASE_WORKER_URL", pool_max=DATABASE_POOL_MAX
        )
    else:  # the same server and password, as the other role
        DATABASES["default"]["USER"] = "finops_worker"
if _owner_url := env_str("DATABASE_OWNER_URL", default=""):
    DATABASES["owner"] = database_from_url(_owner_url, variable="DATABASE_OWNER_URL")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env_str("REDIS_URL")
# Rate limits are not worth waiting for.
REDIS_OPTIONS: dict[str, Any] = {
    "socket_connect_timeout": 0.5, "socket_timeout": 1, "retry": Retry(NoBackoff(), 0),
}  # fmt: skip
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": REDIS_OPTIONS,
    }
}

CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1)
# Which tasks a worker takes: long work, what must not wait behind it, or what waits for other machines.
QUEUE = env_str("FINOPS_QUEUE", default="long", choices=("long", "prompt", "alerts"))
# Installations that share a Redis do not take each other's messages.
QUEUES = {
    "long": DATABASES["default"]["NAME"],
    "prompt": f"{DATABASES['default']['NAME']}-prompt",
    "alerts": f"{DATABASES['default']['NAME']}-alerts",
}
CELERY_TASK_DEFAULT_QUEUE = QUEUES["long"]
CELERY_TASK_ROUTES = {
    "budgets.tend": {"queue": QUEUES["prompt"]},
    "alerts.tell_everybody": {"queue": QUEUES["prompt"]},
    "insights.look_at_runs": {"queue": QUEUES["prompt"]},
    # Figures that wait behind what they measure would be of no use.
    "usage.measure": {"queue": QUEUES["prompt"]},
    "budgets.measure": {"queue": QUEUES["prompt"]},
    "alerts.measure": {"queue": QUEUES["prompt"]},
    "alerts.tell": {"queue": QUEUES["alerts"]},
}
CELERY_TASK_IGNORE_RESULT = True
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_TIME_LIMIT = 300
CELERY_TASK_SOFT_TIME_LIMIT = 270
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# A hint that cannot be queued costs delay, never money: give up at once instead of holding the request.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_timeout": 5,
    "socket_connect_timeout": 0.5,
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
}
CELERY_TASK_PUBLISH_RETRY = False

# --- people ------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "apps.accounts.passwords.GuessableValidator"},
    {"NAME": "apps.accounts.passwords.BreachedValidator"},
]
# SHA-1 hashes of breached passwords, a line each, in order, as Have I Been Pwned publishes them. None, unless named.
BREACHED_PASSWORDS_FILE = env_file("BREACHED_PASSWORDS_FILE")
LOGIN_REDIRECT_URL = "/"
LOGIN_URL = "account_login"
# Whether strangers may make an account and an organization; invitations work either way.
SIGNUP_OPEN = env_bool("SIGNUP_OPEN", default=True)
ACCOUNT_ADAPTER = "apps.accounts.adapters.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_NOTIFICATIONS = True
# In the browser that signed up; another one signs in.
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_LOGIN_ON_PASSWORD_RESET = False
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_SESSION_REMEMBER = True
# Beside allauth's own; the others are in docs/security.md.
ACCOUNT_RATE_LIMITS = {"sso": "30/m/ip"}
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = 15 * 60
MFA_ADAPTER = "apps.accounts.adapters.MFAAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_TOTP_ISSUER = "FinOps for AI"
# A code is good for half a minute before and after its own.
MFA_TOTP_TOLERANCE = 1
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not SECURE

# Single sign-on is of organizations: each brings its own identity provider, and proves that its addresses' domains are
# its own by DNS. Which sessions may see which organization is decided in apps.portal.entrance.
SOCIALACCOUNT_ADAPTER = "apps.portal.sso.SocialAccountAdapter"
SOCIALACCOUNT_AUTO_SIGNUP = True
SOCIALACCOUNT_EMAIL_AUTHENTICATION = False
# A form that ends at another site is refused by our own policy; a link is not.
SOCIALACCOUNT_LOGIN_ON_GET = True
SOCIALACCOUNT_REQUESTS_TIMEOUT = 10
# Name servers to ask, as addresses; the machine's own, unless named.
DNS_SERVERS = env_list("DNS_SERVERS")

SESSION_COOKIE_AGE = 14 * 24 * 3600
SESSION_COOKIE_SECURE = SECURE
SESSION_COOKIE_NAME = "__Host-session" if SECURE else "session"
CSRF_COOKIE_SECURE = SECURE
CSRF_COOKIE_NAME = "__Host-csrf" if SECURE else "csrf"
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "apps.portal.errors.csrf_failure"

# --- mail --------------------------------------------------------------------------------------------

EMAIL_HOST = env_str("EMAIL_HOST", default="")
EMAIL_PORT = env_int("EMAIL_PORT", default=587)
EMAIL_HOST_USER = env_str("EMAIL_HOST_USER", default="")
EMAIL_HOST_PASSWORD = env_secret("EMAIL_HOST_PASSWORD", default="")
EMAIL_USE_TLS = env_bool("EMAIL_USE_TLS", default=EMAIL_PORT == 587)
EMAIL_TIMEOUT = 15
EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend" if EMAIL_HOST else "finops.mail.EmailBackend"
DEFAULT_FROM_EMAIL = env_str("DEFAULT_FROM_EMAIL", default="FinOps for AI <finops@localhost>")

# --- alerts ------------------------------------------------------------------------------------------

# Private networks that webhooks and chat messages may go to, on any port and without TLS. None, unless named.
ALERTS_ALLOWED_NETWORKS = env_networks("ALERTS_ALLOWED_NETWORKS")

# --- the API -----------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["apps.api.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["apps.api.permissions.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["apps.api.parsers.BoundedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "apps.api.errors.problem_from_exception",
    "URL_FORMAT_OVERRIDE": None,
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "FinOps for AI",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "PREPROCESSING_HOOKS": ["apps.api.schema.add_handed_on"],
    "POSTPROCESSING_HOOKS": ["apps.api.schema.add_plain_views"],
}
# Requests a key may send in a minute of the clock; 429 with Retry-After beyond it.
API_REQUESTS_PER_MINUTE = env_int("API_REQUESTS_PER_MINUTE", default=6000, minimum=1)
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

# --- operating ---------------------------------------------------------------------------------------

# Who may read /metrics. Without it nobody may, but this machine in embedded mode.
METRICS_TOKEN = env_secret("METRICS_TOKEN", default="", length_min=16)

# --- usage -------------------------------------------------------------------------------------------

# Months of events this installation keeps; organizations may keep less.
RETENTION_MONTHS = env_int("RETENTION_MONTHS", default=25, minimum=2, maximum=120)

# --- pages -------------------------------------------------------------------------------------------

STATIC_URL = "/static/"
STATIC_ROOT = Path(env_str("STATIC_ROOT", default=str(BASE_DIR / ".local" / "static")))
# What `build_charts_js` makes.
BUILT_STATIC_DIR = BASE_DIR / ".local" / "built"
STATICFILES_DIRS = [BASE_DIR / "static", BUILT_STATIC_DIR]
# That folder is made by `build_charts_js`, before collectstatic and after the first check.
SILENCED_SYSTEM_CHECKS = ["staticfiles.W004"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = DEBUG
LANGUAGE_CODE = "en-us"
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

# --- safety ------------------------------------------------------------------------------------------

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, NONCE],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_SSL_REDIRECT = SECURE
# To the site's own name, whatever the request calls it: a name that is not ours is never sent back.
SECURE_SSL_HOST = urlsplit(BASE_URL).netloc if SECURE else None
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE
SECURE_HSTS_PRELOAD = SECURE
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
if env_bool("BEHIND_TLS_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
ALLAUTH_TRUSTED_PROXY_COUNT = env_int("TRUSTED_PROXY_COUNT", default=0, minimum=0, maximum=10)
X_FRAME_OPTIONS = "DENY"

LOGGING_CONFIG = None
finops_logging.configure(json=not DEBUG and not EMBEDDED, level=env_str("LOG_LEVEL", default="INFO"))
