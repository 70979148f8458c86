"""No form of a URL lets a password through, and no path that looks like one is changed."""

import pytest

from pipeline.credentials import redacted, without_credentials


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("postgresql+psycopg2://jane:hunter2@db:5432/mlflow", "postgresql+psycopg2://db:5432/mlflow"),
        ("postgresql://jane:hun/ter2@db/mlflow", "postgresql://db/mlflow"),
        ("postgresql://jane:hun#t?er2@db/mlflow", "postgresql://db/mlflow"),
        ("postgresql://jane:hun@ter2@db/mlflow", "postgresql://db/mlflow"),
        ("postgresql://jane@db/mlflow", "postgresql://db/mlflow"),
        ("postgresql://db/mlflow?user=jane&password=hunter2", "postgresql://db/mlflow"),
        ("postgresql://db/mlflow?password=hunter2&sslmode=require", "postgresql://db/mlflow?sslmode=require"),
        ("https://jane:hun@ter2@server/mlflow", "https://server/mlflow"),
        ("cannot reach 'http://jane:hunter2@server': refused", "cannot reach 'http://server': refused"),
    ],
)
def test_users_and_passwords_are_taken_out(text: str, bare: str) -> None:
    assert without_credentials(text) == bare


@pytest.mark.parametrize(
    "text",
    ["sqlite:////home/jane@ward/mlflow.db", "http://server:5000/a@b", "s3://bucket/a@b", "jane@ward", "journal:/a@b"],
)
def test_what_holds_none_stays_as_it_is(text: str) -> None:
    assert without_credentials(text) == text


def test_settings_are_taken_clean_however_deep() -> None:
    settings = {"a": {"b": ["http://u:p@h", 1, None]}, "c": True}
    assert redacted(settings) == {"a": {"b": ["http://h", 1, None]}, "c": True}
