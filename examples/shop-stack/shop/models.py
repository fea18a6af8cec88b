"""Products, and orders of them. An order is placed by whoever serves the site, and packed by the worker."""

from django.db import models, transaction
from django.utils import timezone


class OutOfStock(Exception):
    """An order asks for more than there is."""


class Product(models.Model):
    name = models.CharField(max_length=120, unique=True)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    stock = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["name"]

    def __str__(self):
        return self.name


class Order(models.Model):
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="orders")
    quantity = models.PositiveIntegerField()
    created = models.DateTimeField(auto_now_add=True)
    packed = models.DateTimeField(null=True)

    class Meta:
        ordering = ["pk"]

    @classmethod
    @transaction.atomic
    def place(cls, product, quantity):
        """A new order; what it asks for is taken out of stock. Raises OutOfStock."""
        enough = Product.objects.filter(pk=product.pk, stock__gte=quantity)
        if not enough.update(stock=models.F("stock") - quantity):
            raise OutOfStock(f"there are fewer than {quantity} of {product}")
        return cls.objects.create(product=product, quantity=quantity)

    @classmethod
    def pack(cls, number):
        """Pack the order with this number; whether there was such a one, not yet packed."""
        return bool(cls.objects.filter(pk=number, packed=None).update(packed=timezone.now()))
