from io import StringIO

from django.core.management import call_command

from shop.models import Product


def seed():
    output = StringIO()
    call_command("seed", stdout=output)
    return output.getvalue()


def test_seed_fills_the_shop_once(db):
    assert seed().startswith("5 products made")
    assert seed().startswith("0 products made, 5 in the shop")
    assert Product.objects.available().count() == 4


def test_migrations_are_complete(db):
    call_command("makemigrations", "--check", "--dry-run", stdout=StringIO())
