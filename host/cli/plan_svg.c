/* SPDX-License-Identifier: Apache-2.0
 * Speed-up over SQNR. Points without any error stand at the right edge. */
#include "plan_svg.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 720, HEIGHT = 440, LEFT = 60, RIGHT = 190, TOP = 30, BOTTOM = 50 };
static const char *const colors[] = {"#777777", "#b0413e", "#e08e45", "#548687", "#8a6fb0", "#3f7cac", "#9a8c3c", "#1a7f37"};
enum { COLORS = sizeof colors / sizeof *colors };

struct scale {
    double least_db, most_db, most_speed;
};

static double x_of(const struct scale *s, double db)
{
    double part = isinf(db) ? 1.05 : (db - s->least_db) / (s->most_db - s->least_db);
    return LEFT + fmin(fmax(part, 0), 1.05) / 1.05 * (WIDTH - LEFT - RIGHT);
}

static double y_of(const struct scale *s, double speed)
{
    return HEIGHT - BOTTOM - speed / s->most_speed * (HEIGHT - TOP - BOTTOM);
}

static struct scale find_scale(const clq_result *r)
{
    struct scale s = {INFINITY, -INFINITY, 1};
    for (size_t i = 0; i < clq_result_point_count(r); i++) {
        const clq_plan_point *p = clq_result_point(r, i);
        s.most_speed = fmax(s.most_speed, p->speedup);
        if (isinf(p->sqnr_db)) continue;
        s.least_db = fmin(s.least_db, floor(p->sqnr_db / 5) * 5);
        s.most_db = fmax(s.most_db, ceil(p->sqnr_db / 5) * 5);
    }
    if (!(s.least_db < s.most_db)) s = (struct scale){isfinite(s.least_db) ? s.least_db - 5 : 0, isfinite(s.most_db) ? s.most_db + 5 : 50, s.most_speed};
    s.most_speed *= 1.1;
    return s;
}

static void axes(FILE *f, const struct scale *s)
{
    fprintf(f, "<path d=\"M%d %dV%dH%d\" fill=\"none\" stroke=\"#444\"/>\n", LEFT, TOP, HEIGHT - BOTTOM, WIDTH - RIGHT);
    for (double db = s->least_db; db <= s->most_db; db += 5)
        fprintf(f, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g</text>\n", x_of(s, db), HEIGHT - BOTTOM + 18, db);
    double step = s->most_speed > 4 ? 1 : 0.5;
    for (double v = 0; v <= s->most_speed; v += step)
        fprintf(f, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", LEFT - 8, y_of(s, v) + 4, v);
    fprintf(f, "<path d=\"M%d %.1fH%d\" stroke=\"#bbb\" stroke-dasharray=\"4 4\"/>\n", LEFT, y_of(s, 1), WIDTH - RIGHT);
    fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">output SQNR in dB (right edge: exact)</text>\n", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12);
    fprintf(f, "<text x=\"%d\" y=\"%d\">speed-up over float32</text>\n", LEFT - 40, TOP - 12);
}

void cli_plan_svg(FILE *f, const clq_result *r)
{
    struct scale s = find_scale(r);
    fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\">\n", WIDTH,
            HEIGHT, WIDTH, HEIGHT);
    fprintf(f, "<title>Error, time and size of plans</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n");
    axes(f, &s);
    int policy = -1;
    const char *last = "";
    for (size_t i = 0; i < clq_result_point_count(r); i++) {
        const clq_plan_point *p = clq_result_point(r, i);
        if (strcmp(p->policy, last) != 0) {
            policy++;
            int y = TOP + 20 * policy;
            fprintf(f, "<circle cx=\"%d\" cy=\"%d\" r=\"5\" fill=\"%s\"/><text x=\"%d\" y=\"%d\">%s</text>\n", WIDTH - RIGHT + 20, y, colors[policy % COLORS],
                    WIDTH - RIGHT + 32, y + 4, p->policy);
        }
        last = p->policy;
        const char *color = colors[policy % COLORS];
        fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"6\" stroke=\"%s\" stroke-width=\"2\" fill=\"%s\"><title>%s: %.2f dB, %.2f x, %zu bytes</title></circle>\n",
                x_of(&s, p->sqnr_db), y_of(&s, p->speedup), color, p->on_frontier ? color : "white", p->id, p->sqnr_db, p->speedup, p->bytes);
    }
    fprintf(f, "</svg>\n");
}
