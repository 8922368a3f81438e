"""Database routers of the test project, for processes that have two databases."""


class Files:
    """The attachments in a database of their own, which holds nothing else."""

    def db_for_read(self, model, **hints):
        return "files" if is_ours(model._meta.app_label) else None

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints):
        return (db == "files") == is_ours(app_label)


def is_ours(app_label):
    return app_label == "session_attachments"
