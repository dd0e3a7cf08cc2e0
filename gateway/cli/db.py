"""``handrail db``: the database schema."""

from sqlalchemy.exc import SQLAlchemyError

import migrations
from audit.database import make_engine
from gateway.cli.command import command, noun
from gateway.cli.exits import Exit, Stop
from gateway.cli.options import Config
from gateway.cli.output import Output
from gateway.settings import load

app = noun("db")
app.callback()(lambda: None)


@command(app, example="db upgrade", good="the schema is the newest", unreachable="the database cannot be reached")
def upgrade(out: Output, config: Config = None) -> None:
    """Migrate the configured database to the newest schema; does nothing where it is there already."""
    settings = load(config)
    if settings.database.url is None:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = make_engine(settings.database_url)
    try:
        before = migrations.current(engine)
        migrations.upgrade(engine)
        after = migrations.current(engine)
    except SQLAlchemyError as exc:
        # The driver's words may hold the URL with its password.
        where = engine.url.render_as_string(hide_password=True)
        raise Stop(
            f"{where}: {type(exc).__name__}", "Is the database running, and may this user change it?", Exit.UNREACHABLE
        ) from None
    finally:
        engine.dispose()
    document = {"before": before, "after": after}
    out.show(document, lambda: out.line(f"The schema is at {after} (it was at {before or 'nothing'})."))
