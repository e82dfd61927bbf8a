-- The roles and the database of one installation. psql runs it as a superuser, any number of times;
-- each role gets the password that the environment names for it, or keeps the one it has.
\set ON_ERROR_STOP on

SELECT format('CREATE ROLE %I', wanted)
FROM unnest(ARRAY['finops_owner', 'finops_app', 'finops_worker']) AS wanted
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) \gexec

-- Migrations and backup; never at run time.
ALTER ROLE finops_owner LOGIN NOSUPERUSER CREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS;
-- The site, and Celery. They own nothing.
ALTER ROLE finops_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
ALTER ROLE finops_worker LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

\getenv owner_password FINOPS_OWNER_PASSWORD
\if :{?owner_password}
ALTER ROLE finops_owner PASSWORD :'owner_password';
\endif
\getenv app_password FINOPS_APP_PASSWORD
\if :{?app_password}
ALTER ROLE finops_app PASSWORD :'app_password';
\endif
\getenv worker_password FINOPS_WORKER_PASSWORD
\if :{?worker_password}
ALTER ROLE finops_worker PASSWORD :'worker_password';
\endif

-- The builtin locale sorts the same on every machine, whatever its C library.
SELECT $$CREATE DATABASE finops OWNER finops_owner TEMPLATE template0 ENCODING 'UTF8'
         LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'$$
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'finops') \gexec

REVOKE ALL ON DATABASE finops FROM PUBLIC;
GRANT CONNECT ON DATABASE finops TO finops_app, finops_worker;

\connect finops
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT ALL ON SCHEMA public TO finops_owner;
GRANT USAGE ON SCHEMA public TO finops_app, finops_worker;
-- A function that runs with its owner's rights must be granted by name.
ALTER DEFAULT PRIVILEGES FOR ROLE finops_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
