"""Django's Postgres, which looks at a pooled connection before it uses it instead of asking the server."""

from typing import Any

from django.db.backends.postgresql import base

from apps.core.deadline import patience, was_closed


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """A connection that the server has not closed meanwhile; those that it has are replaced by the pool."""
        if self.pool is not None and (seconds := patience.get()) is not None:
            self.pool.open()
            self.pool.putconn(self.pool.getconn(seconds))  # there is one, or nobody waits for it any longer
        connection = super().get_new_connection(conn_params)
        while self.pool is not None and was_closed(connection):
            connection.close()
            self.pool.putconn(connection)
            connection = super().get_new_connection(conn_params)
        return connection
