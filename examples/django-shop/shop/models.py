"""Categories of products, and orders of them."""

from decimal import Decimal

from django.core.validators import MinValueValidator
from django.db import models, transaction
from django.urls import reverse


class OutOfStock(Exception):
    """An order asks for more than there is."""


class Category(models.Model):
    name = models.CharField(max_length=80, unique=True)
    slug = models.SlugField(unique=True)

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "categories"

    def __str__(self):
        return self.name

    def get_absolute_url(self):
        return reverse("shop:category", args=[self.slug])


class ProductQuerySet(models.QuerySet):
    def available(self):
        return self.filter(stock__gt=0)

    def search(self, words):
        found = self
        for word in words.split():
            found = found.filter(models.Q(name__icontains=word) | models.Q(description__icontains=word))
        return found


class Product(models.Model):
    category = models.ForeignKey(Category, on_delete=models.PROTECT, related_name="products")
    name = models.CharField(max_length=120)
    slug = models.SlugField(unique=True)
    description = models.TextField(blank=True)
    price = models.DecimalField(max_digits=8, decimal_places=2, validators=[MinValueValidator(Decimal("0.01"))])
    stock = models.PositiveIntegerField(default=0)

    objects = ProductQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [models.CheckConstraint(condition=models.Q(price__gt=0), name="price_is_positive")]

    def __str__(self):
        return self.name

    def get_absolute_url(self):
        return reverse("shop:product", args=[self.slug])


class Order(models.Model):
    email = models.EmailField()
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created"]

    def __str__(self):
        return f"Order {self.pk} by {self.email}"

    @property
    def total(self):
        return sum((line.subtotal for line in self.lines.all()), Decimal(0))

    @classmethod
    @transaction.atomic
    def place(cls, email, quantities):
        """An order of {product: quantity}; takes the products out of stock, all or none. Raises OutOfStock."""
        order = cls.objects.create(email=email)
        for product, quantity in quantities.items():
            taken = Product.objects.filter(pk=product.pk, stock__gte=quantity).update(stock=models.F("stock") - quantity)
            if not taken:
                raise OutOfStock(f"there are fewer than {quantity} of {product}")
            order.lines.create(product=product, quantity=quantity, price=product.price)
        return order


class OrderLine(models.Model):
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, on_delete=models.PROTECT)
    quantity = models.PositiveIntegerField(validators=[MinValueValidator(1)])
    price = models.DecimalField(max_digits=8, decimal_places=2, help_text="of one, when it was ordered")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["order", "product"], name="a_product_once_an_order")]

    def __str__(self):
        return f"{self.quantity} × {self.product}"

    @property
    def subtotal(self):
        return self.quantity * self.price
