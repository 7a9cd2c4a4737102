"""The numbers of the ensembles."""

import hashlib

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat

HOUR_MIN = 60.0


class Growth(BaseModel, frozen=True):
    """What grows with the lead time t [min], as a standard deviation: ``max(0, a t**b + c)``."""

    model_config = ConfigDict(extra="forbid")

    a: NonNegativeFloat
    b: NonNegativeFloat
    c: float = 0.0

    def at(self, minutes: float) -> float:
        """The value at a lead time."""
        return max(0.0, self.a * minutes**self.b + self.c)


class EnsembleSettings(BaseModel, frozen=True):
    """What decides how much the members differ; the defaults are for any radar network.

    The growth of the displacements has the form of Bowler et al. (2006,
    doi:10.1256/qj.04.100). It follows from the perturbations of velocity that pysteps fitted to
    the optical flow of Lucas and Kanade on Finnish and Swiss radar, integrated over the lead time,
    times 1.5 (``docs/decisions/0018-members-in-the-moving-frame.md``).
    """

    model_config = ConfigDict(extra="forbid")

    noise: NonNegativeFloat = Field(
        default=0.8, description="factor of the noise's standard deviation at the last scan's time"
    )
    noise_after_an_hour: NonNegativeFloat = Field(
        default=1.2,
        description="the same after 60 min; linear in the lead time, and see `noise_factor`",
    )
    noise_growth_scale_km: PositiveFloat = Field(
        default=4.0,
        description="the noise of finer bands [km] grows less, in proportion to their scale",
    )
    deviation_window_km: PositiveFloat = Field(
        default=24.0, description="Gaussian window [km] of a band's local standard deviation"
    )
    deviation_floor: NonNegativeFloat = Field(
        default=0.1,
        description="share of a band's standard deviation in the domain that is added to the local "
        "one",
    )
    floor_scale_km: PositiveFloat = Field(
        default=16.0,
        description="this share is lower for bands of a finer scale [km], in proportion to their "
        "scale; see `floor_share`",
    )
    lifetime_min: PositiveFloat = Field(
        default=8.0,
        description="longest lifetime [min] of details of 1 km; see `lifetime_exponent`",
    )
    lifetime_exponent: NonNegativeFloat = Field(
        default=1.45,
        description="the longest lifetime of a band grows with this power of its scale [km]",
    )
    along_km: Growth = Field(
        default=Growth(a=0.0074, b=1.65), description="displacement along the motion [km]"
    )
    across_km: Growth = Field(
        default=Growth(a=0.0062, b=1.65), description="displacement across the motion [km]"
    )
    displacement_scale_km: PositiveFloat = Field(
        default=150.0, description="correlation length of the displacements [km]"
    )
    amount: Growth = Field(
        default=Growth(a=0.3 / HOUR_MIN, b=1.0), description="logarithm of the factor of the amount"
    )
    amount_common: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="share of its variance that is common to the whole domain",
    )
    amount_scale_km: PositiveFloat = Field(
        default=32.0, description="correlation length of the rest of the factor [km]"
    )
    tendency_per_hour: float = Field(
        default=0.0, description="mean change of the logarithm of the amount in an hour"
    )

    new_rain: Growth = Field(
        default=Growth(a=0.0005 / HOUR_MIN**1.8, b=1.8),
        description="share of the area far from rain that gets new rain",
    )
    new_rain_distance_km: NonNegativeFloat = Field(
        default=20.0, description="new rain is farther than this [km] from rain of the last scan"
    )
    new_rain_scale_km: PositiveFloat = Field(
        default=8.0, description="correlation length of the field that new showers are peaks of"
    )
    new_rain_least_mm_h: PositiveFloat = Field(
        default=0.2, description="new rain is at least this rate [mm/h]"
    )
    new_rain_exponent: PositiveFloat = Field(
        default=1.3, description="new rain exceeds r times its least rate in the share r**-exponent"
    )

    score_slope: tuple[float, float] = Field(
        default=(-0.4, 0.5),
        description="slope of the weights of bands in normal scores at 10 and at 60 min; see "
        "`score_weight`",
    )
    score_fall: NonNegativeFloat = Field(
        default=0.5,
        description="the weights of bands beyond `score_fall_scale_km` fall with this power of "
        "their scale",
    )
    score_fall_scale_km: PositiveFloat = Field(
        default=4.0, description="scale [km] beyond which the weights of bands fall"
    )
    fine_scores: tuple[NonNegativeFloat, ...] = Field(
        default=(0.25, 0.6, 0.85),
        description="factors of the finest bands' weights in normal scores, finest first",
    )

    marginal_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="share of the members of a mixed ensemble that are drawn from the chances of "
        "the network",
    )

    @property
    def digest(self) -> str:
        """Names these numbers, in 8 hexadecimal digits."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:8]

    def noise_factor(self, minutes: float, scale_km: float) -> float:
        """The factor of the standard deviation of a band's noise at a lead time.

        After an hour it goes on growing, up to twice the step of the first hour. It grows less in
        bands that are finer than `noise_growth_scale_km`. They forget all within minutes, so more
        noise adds no error that was missing, and would make the members rougher than rain.
        """
        step = self.noise_after_an_hour - self.noise
        grows = min(1.0, scale_km / self.noise_growth_scale_km)
        return self.noise + step * grows * min(minutes / HOUR_MIN, 2.0)

    def new_rain_share(self, minutes: float) -> float:
        """The share of the area far from rain that has new rain at a lead time."""
        return min(0.5, self.new_rain.at(minutes))

    def longest_lifetime_min(self, scale_km: float) -> float:
        """No band of this scale has a longer lifetime [min], whatever the context says."""
        return self.lifetime_min * scale_km**self.lifetime_exponent

    def score_weight(self, band: int, minutes: float, spacing_km: float) -> float:
        """The factor of a band's standard deviation in normal scores.

        ::

            2**(slope * band / 2) * min(1, score_fall_scale_km / scale)**score_fall * fine(band)

        The slope is linear in the lead time from 10 to 60 min, and constant outside. Without the
        second factor the amounts of whole areas differ more than the error of their mean. Without
        the third one, that of `fine_scores`, members are rougher than rain.

        Parameters
        ----------
        band : its number, the finest is 0; its scale is 2**band pixels.
        spacing_km : of the pixels.
        """
        share = min(1.0, max(0.0, (minutes - 10) / (HOUR_MIN - 10)))
        first, last = self.score_slope
        slope = first + share * (last - first)
        falls = min(1.0, self.score_fall_scale_km / (2**band * spacing_km)) ** self.score_fall
        fine = self.fine_scores[band] if band < len(self.fine_scores) else 1.0
        return float(2 ** (slope * band / 2)) * falls * fine

    def floor_share(self, scale_km: float) -> float:
        """The share of a band's standard deviation in the domain that is added to the local one.

        Far from rain a band's deviation is little more than its floor. There, rain that begins is
        a shower of some kilometres. With the whole floor in the fine bands it would be single
        pixels.
        """
        return self.deviation_floor * min(1.0, scale_km / self.floor_scale_km)
